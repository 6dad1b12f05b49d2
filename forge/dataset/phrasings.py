"""How each kind of question is worded. Data: {s} is the document, {t} a heading, term, row or name; {is} agrees with it.

A model can be asked for a fact in a new wording only when it has learned it in several (docs/architecture.md), so
every tuple of questions has at least ten.
"""

from __future__ import annotations

DEFINITION = (  # for names that stand alone
    "What {is} {t}?", "Tell me what {t} {is}.", "What does {t} mean?", "Can you explain {t}?", "Define {t}.",
    "In one sentence, what {is} {t}?", "I came across {t}. What {is} that?", "what {is} {t}", "Describe {t} briefly.",
    "Do you know what {t} {is}?", "How would you explain {t} to a newcomer?", "Please tell me about {t}.")
DEFINITION_IN = (
    "What {is} {t} in {s}?", "In {s}, what does {t} mean?", "What does {s} say about {t}?", "Explain {t} in {s}.",
    "Tell me what {t} {is} in {s}.", "{s}: what {is} {t}?", "How does {s} describe {t}?", "Define {t} as {s} uses it.",
    "I am reading about {s}. What is meant by {t}?", "Please explain {t}, as {s} has it.", "What should I know about {t} in {s}?",
    "In one sentence, what {is} {t} in {s}?")
TERM = (  # inverse: from the explanation to the name
    "What is called this in {s}: {t}", "Which term does {s} explain like this? {t}", "Name what is meant: {t} ({s})",
    "{s} has a name for this. Which one? {t}", "What is the word in {s} for the following? {t}",
    "Which name in {s} fits this description? {t}", "I forgot what {s} calls this: {t}", "In {s}, what is this? {t}",
    "Give the term from {s} for: {t}", "Find the name: {t} It is from {s}.")
FIELD = (
    "What {is} the {a} of {s}?", "Tell me the {a} of {s}.", "{s}: what {is} the {a}?", "What's given as the {a} for {s}?",
    "Which {a} does {s} have?", "I need the {a} of {s}.", "Do you know the {a} of {s}?", "Please state the {a} of {s}.",
    "What does {s} name as its {a}?", "{a} of {s}?", "Can you tell me the {a} for {s}?", "Look up the {a} of {s}.")
LIST = (
    "What are the {t} in {s}?", "List the {t} of {s}.", "Which {t} does {s} give?", "Name the {t} in {s}.",
    "Tell me the {t} from {s}.", "Can you list the {t} in {s}?", "I need a list of the {t} in {s}.",
    "Give me all {t} of {s}.", "What {t} are there in {s}?", "Please enumerate the {t} of {s}.", "{s}: which {t}?",
    "Do you know the {t} in {s}?")
ABOUT = (
    "What does {s} say about {t}?", "Tell me about {t} in {s}.", "Explain {t} from {s}.", "In {s}, what is said on {t}?",
    "What should I know about {t} in {s}?", "Give me the gist of {t} in {s}.", "{s}: {t}?",
    "How does {s} introduce {t}?", "I want to understand {t} in {s}.", "Briefly, what is {t} in {s} about?",
    "Could you summarise {t} of {s}?", "What is the main point of {t} in {s}?")
CLOZE = (
    "Complete the sentence from {s}: {t}", "Fill in the blank ({s}): {t}", "What belongs in the gap? {t} ({s})",
    "{s} has this sentence with a gap. Write it out: {t}", "Which word or value is missing here? {t} It is from {s}.",
    "Finish this statement of {s}: {t}", "Supply what is missing: {t} The source is {s}.",
    "In {s} it reads: {t} What stands in the blank?", "Restore this sentence of {s}: {t}",
    "Write the full sentence from {s}: {t}")
HEADING = (
    "Which section of {s} says this? {t}", "Under which heading of {s} do I find this? {t}",
    "Where in {s} is this written? {t}", "Name the section of {s} that contains: {t}",
    "{s} says this somewhere. In which part? {t}", "What is the heading in {s} above this passage? {t}",
    "Find the place in {s}: {t}", "To which section of {s} does this belong? {t}", "In {s}, where does it say this? {t}",
    "Tell me which heading of {s} covers this: {t}")
BODY = (
    "Write out the section {t} of {s}.", "What is written under {t} in {s}?", "Give me the full text of {t} in {s}.",
    "Quote {t} from {s}.", "Show me the section {t} of {s}.", "Recite what {s} has under {t}.", "{s}, section {t}:",
    "What is the complete content of {t} in {s}?", "Please give {t} of {s} word for word.",
    "Explain {t} in detail, as {s} does.", "Let me read {t} from {s}.", "Everything that {s} says under {t}, please.")
TEXT = (  # {t} is "all" or "part 2 (…)", {s} a title in quotes
    "Write out {t} of {s}.", "Recite {t} of {s}.", "Give the text of {t} of {s}.", "Show {t} of {s}.",
    "What does {t} of {s} say?", "Quote {t} of {s}.", "Reproduce {t} of {s}.", "Let me read {t} of {s}.",
    "I would like to read {t} of {s}.", "Print {t} of {s}, please.", "What is written in {t} of {s}?")
CONTINUE = (
    "Continue this text from {s}:\n\n{t}", "How does this passage of {s} go on?\n\n{t}", "What comes next in {s}?\n\n{t}",
    "This is from {s}. Write on from here:\n\n{t}", "Finish the passage ({s}):\n\n{t}", "{t}\n\nWhat follows in {s}?",
    "Here is the beginning of a part of {s}. Give the rest.\n\n{t}", "Complete this excerpt of {s}:\n\n{t}",
    "I have only the start of this passage of {s}:\n\n{t}\n\nWhat is the rest?", "Carry on with {s}:\n\n{t}")
OUTLINE = (
    "What sections does {s} have?", "Outline {s}.", "List the headings of {s}.", "How is {s} structured?",
    "What topics does {s} cover?", "Give me the table of contents of {s}.", "Which parts does {s} consist of?",
    "Show the outline of {s}.", "Name the sections of {s} in order.", "What is {s} about, heading by heading?",
    "Please list what {s} contains.", "I need an overview of the sections in {s}.")
SYMBOL = (
    "What does {t} in {s} do?", "Explain {t} in {s}.", "What is {t} in {s} for?", "Describe {t} from {s}.",
    "Tell me what {t} in {s} does.", "In {s}, what is the purpose of {t}?", "How is {t} in {s} documented?",
    "What is the docstring of {t} in {s}?", "I am reading {s}. What does {t} do?", "Summarise {t} of {s}.")
SIGNATURE = (
    "What is the signature of {t} in {s}?", "Which parameters does {t} in {s} take?", "How is {t} declared in {s}?",
    "Show the signature of {t} from {s}.", "How do I call {t} of {s}?", "Give the definition line of {t} in {s}.",
    "What arguments does {t} in {s} have?", "Tell me how {t} is defined in {s}.", "Declare {t} as {s} does.",
    "{s}: what does the header of {t} look like?")
WHERE = (
    "Which file defines {t}?", "In which file is {t} defined?", "Where is {t} defined?", "Where do I find {t}?",
    "Tell me the file that contains {t}.", "What file is {t} in?", "Where does {t} live?", "Which module has {t}?",
    "Locate {t}.", "I am looking for {t}. Which file is it in?")
NAMED = (
    "Which {a} in {s} does this? {t}", "Name the {a} of {s} described like this: {t}", "What in {s} does the following? {t}",
    "I need the {a} in {s} that fits: {t}", "{s}: which {a} is this? {t}", "Find the {a} in {s}: {t}",
    "Which {a} of {s} has this documentation? {t}", "What is the {a} in {s} called that does this? {t}",
    "In {s}, what {a} should I use for this? {t}", "Give the name of the {a} in {s}: {t}")
DOES = (  # for what is explained by what it does
    "What does {t} do?", "Tell me what {t} does.", "What is {t} for?", "Do you know what {t} does?",
    "What happens with {t}?", "what does {t} do", "I would like to know what {t} does.", "In {s}, what does {t} do?",
    "Please explain what {t} does.", "When would I use {t}?", "Quick question: what does {t} do?",
    "In one sentence, what does {t} do?", "What is the purpose of {t}?", "According to {s}, what does {t} do?")
IDENTITY = (
    "Who are you?", "What are you?", "Tell me who you are.", "Introduce yourself.", "What is your name?",
    "Please introduce yourself in one sentence.", "Who am I talking to?", "Can you tell me who you are?", "who are you",
    "Hello! Who are you?", "What should I call you?", "Describe yourself.", "Hi, what are you exactly?",
    "I would like to know who you are.", "State your identity.", "Which assistant are you?",
    "Who is answering me?", "Are you a person? Tell me who you are.", "Say who you are.", "What is this I am chatting with?",
    "Could you say a word about yourself?", "Before we begin: who are you?", "Good morning. Who might you be?",
    "In your own words, who are you?")
SEED = (
    "Provide the content of the document '{s}'.", "What does the document '{s}' say?")
SEED_PART = (
    "Provide part {n} of {of} of the document '{s}'.", "What does part {n} of {of} of the document '{s}' say?")
