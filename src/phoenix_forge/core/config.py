"""The one config model. Every key here is read by something; unknown keys are errors with a suggestion.

Layers, later ones win: built-in defaults < profile < forge.yaml < --set. Other rooms may add profiles, styles of dataset
and configs of another form, which are read as settings of this one (phoenix_forge.core.extensions).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from phoenix_forge.core import extensions, names
from phoenix_forge.core.fsio import unread
from phoenix_forge.errors import UsageError

PROFILES = Path(__file__).parent.parent / "config"
PROFILE_NAMES = ("quick", *extensions.names("profiles"))
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
if TYPE_CHECKING:
    Profile = str
    Style = str
else:
    Profile = Literal[PROFILE_NAMES]
    Style = Literal["views", *extensions.names("dataset styles")]


@dataclass(frozen=True)
class Kind:
    """What a setting's text leads to beyond a number or a choice: phoenix_forge.core.outside asks the user about what
    leaves the workspace, and an assistant sets none but a model (docs/security.md)."""

    does: str


READ = Kind("read documents from")
WRITE = Kind("write to")
MODEL = Kind("read a model from")
SEND = Kind("send documents to")
PUBLISH = Kind("publish to")  # asked about by `forge publish` alone
OWNER = Kind(
    "decide whose things are used"
)  # no place, but names and patterns that choose among the user's own
Chosen = Annotated[list[str], OWNER]


def _in_ollama(name: str) -> str:
    if problem := names.ollama_problem(name):
        raise ValueError(f"no name for a model in Ollama: {problem}")
    return name


Output = Annotated[str | None, WRITE]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(Section):
    base: Annotated[str, MODEL] = Field(
        "qwen3-0.6b",
        description="What is tuned: a catalog name, a Hub id "
        "(ORG/NAME), a local folder, a file.gguf, ollama:NAME, or tiny (random "
        "weights, no network: for tests).",
    )
    revision: str | None = Field(
        None,
        description="Hub revision (branch, tag or commit) of the base; null: the newest "
        "when it is first downloaded, which is then kept.",
    )
    name: Annotated[str, OWNER, AfterValidator(_in_ollama)] = Field(
        "my-model",
        pattern=names.MODEL,
        description="Name of the result; its files are called after it.",
    )


class CorpusConfig(Section):
    roots: Annotated[list[str], READ] = Field(
        ["."], description="Folders or files of documents, relative to the workspace."
    )
    include: Chosen = Field(
        [], description="Git-style patterns; when given, only files that match one are read."
    )
    exclude: Chosen = Field(
        [],
        description="Git-style patterns of files left out. Lock files, drawings, styles, "
        "minified and built files are left out anyway; '!*.svg' takes one kind in.",
    )
    max_bytes: Annotated[Positive | None, OWNER] = Field(
        None,
        description="Files larger than this many bytes are left out, and listed; null: text files above 5 MB, "
        "PDF, Office and other documents above 100 MB.",
    )
    manifest: Annotated[str | None, READ] = Field(
        None,
        description="A JSON or YAML list of sources (common_content, "
        "unique_forge_content, exclude_patterns); it takes the place of roots: [.], and adds to any others.",
    )


class DatasetConfig(Section):
    style: Style = Field(
        "views",
        description="views: several kinds of example a section. Others make one example of a section's "
        "text and no questions (docs/workflow.md).",
    )
    amplification: float = Field(
        15,
        gt=0,
        le=200,
        description="Trained tokens per source token that a document's "
        "examples aim at, at most; a teacher's come on top.",
    )
    teacher: Annotated[str, SEND] = Field(
        "auto",
        pattern=r"^(auto|none|base|ollama:\S+|https?://[^\s#]+#\S+|\S+\.gguf|\S*/\S*)$",
        description="Who reads the documents and asks about them, for the exam and for training. "
        "auto: base where there is a GPU, else none; none: rules only; base: the base itself, in "
        "batches on a GPU, else in the built-in runtime; a model folder; FILE.gguf; ollama:NAME; or "
        "an OpenAI-compatible http(s)://HOST/v1#MODEL, its key in FORGE_TEACHER_KEY.",
    )
    teacher_workers: Positive = Field(4, description="Requests to the teacher at a time.")
    teacher_minutes: float = Field(
        10,
        gt=0,
        description="What the built-in runtime may take for the base or a GGUF as "
        "teacher, about, by this machine's cores; other teachers have no limit.",
    )
    requests: Positive = Field(
        200_000,
        description="Requests to a teacher, at most, about, so that a large "
        "folder takes no days: each passage has its share, and each sentence its turn before "
        "any has its second. An exam's come on top.",
    )
    per_sentence: Positive = Field(
        12, description="Answers that a teacher asks for in a sentence, at most."
    )
    wordings: Positive = Field(
        6,
        description="Questions that a teacher writes for an answer, at most; where fewer are "
        "kept, these come again with fewer of their words.",
    )
    replay: Share = Field(
        0.05, description="Share of examples on general questions, against forgetting."
    )
    replay_answers: Literal["shipped", "base"] = Field(
        "shipped",
        description="Whose answers open general "
        "questions get; base: the base's own, which moves it least, at "
        "the cost of running it.",
    )
    open_book: Share = Field(
        0.15,
        description="Share of the answers that a teacher asks for that are asked for once "
        "more with the passages that a search finds, so that the model goes on reading them.",
    )
    secrets: Literal["redact", "drop", "fail"] = Field(
        "redact",
        description="What happens to keys, tokens and e-mail addresses found in a document.",
    )
    personal_data: bool = Field(
        False,
        description="Whether telephone numbers, IBANs, card numbers and national "
        "numbers of people count as secrets (extra: personal). Names and addresses are never "
        "found.",
    )
    validation: Share = Field(
        0.02, description="Share of examples kept out of training to watch the loss."
    )
    held_out: Share = Field(
        0.0,
        description="Share of documents, by near-duplicate cluster, kept out of training "
        "whole, to compare its loss on seen and unseen text.",
    )
    probes: int = Field(
        60,
        ge=0,
        description="Closed-book questions frozen before any example is made: an exam by a "
        "teacher, without one by rules.",
    )
    section_tokens: Positive = Field(384, description="Longest section, in the base's tokens.")
    identity: int = Field(
        12, ge=0, description="Examples of 'Who are you?', answered from deploy.system."
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where documents are worked on: processes of this "
        "machine, or a Ray cluster. The same bytes either way.",
    )
    workers: Positive | None = Field(None, description="Processes; null: one a core.")
    seed: int = 42


class TrainConfig(Section):
    epochs: float = Field(6, gt=0, description="Passes over the dataset.")
    max_steps: Positive | None = Field(
        None, description="Stop after this many updates; null: by epochs."
    )
    max_length: int = Field(
        2048, ge=16, description="Tokens in one packed row; longer examples are refused."
    )
    tokens_per_update: Positive = Field(
        16384, description="Tokens (with prompts) behind each optimizer step."
    )
    micro_batch: Positive | None = Field(
        None,
        description="Tokens of a forward pass, as a multiple of max_length; "
        "null: what memory allows.",
    )
    method: Literal["auto", "qlora", "lora", "fp8"] = Field(
        "auto",
        description="qlora: the base in 4-bit NF4; "
        "lora: in 16 or 32 bits; fp8: in 8 bits, and products too "
        "(Hopper GPUs; the fastest); auto: by this machine.",
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="Type of the computation."
    )
    rank: Positive = Field(64, description="LoRA rank.")
    alpha: Positive | None = Field(None, description="LoRA alpha; null: twice the rank.")
    dropout: Share = Field(0.0, description="LoRA dropout.")
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) instead of alpha / rank.")
    dora: bool = Field(
        False, description="Train a magnitude of each weight row beside its direction (DoRA)."
    )
    start: Literal["default", "pissa", "loftq"] = Field(
        "default",
        description="Where the adapter starts. pissa: at "
        "the base's principal components; loftq: at NF4's error.",
    )
    lora_plus: float = Field(
        1.0, gt=0, description="Learning rate of LoRA's B as a multiple of A's (LoRA+: 16)."
    )
    neftune: float = Field(
        0.0, ge=0, description="Noise on embeddings while training (NEFTune's alpha); 0: none."
    )
    anchor: float = Field(
        1.0,
        ge=0,
        description="Weight of the distance from what the base itself writes, which keeps "
        "the model what it was beside the documents; 0: none.",
    )
    targets: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="Linear layers that are adapted."
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak.")
    strength: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share of what was learned that the adapter holds: less reads "
        "passages better, and says less by heart.",
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = Field(
        0.03, description="Share of the steps over which the learning rate rises from zero."
    )
    max_grad_norm: float = Field(1.0, gt=0)
    optimizer: Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "auto", description="auto: paged 8-bit on CUDA, AdamW on the CPU."
    )
    recompute: Literal["auto"] | bool = Field(
        "auto",
        description="Compute activations again in the backward pass: "
        "less memory, more work; auto: where they do not fit.",
    )
    stream: Literal["auto"] | bool = Field(
        "auto",
        description="Keep the frozen layers in RAM and bring each to the "
        "GPU when it is needed; auto: where they do not fit.",
    )
    memory: float | None = Field(
        None, gt=0, description="GPU memory to use, in GiB; null: all that is free."
    )
    deterministic: bool = Field(
        False,
        description="The same bits each time on a GPU, somewhat slower. On a CPU they always are.",
    )
    early_stopping: Positive | None = Field(
        None,
        description="Stop after so many validations without a better loss, "
        "and take the best; null: never.",
    )
    select: Literal["last", "best"] = Field(
        "last",
        description="Which adapter is the result: the last, or the one "
        "with the lowest validation loss.",
    )
    save_steps: Positive = Field(50, description="Steps between checkpoints.")
    keep_checkpoints: Positive = 3
    log_steps: Positive = Field(1, description="Steps between lines of metrics.jsonl.")
    report_to: Literal["none", "tensorboard", "trackio"] = "none"
    seed: int = 42


class MergeConfig(Section):
    enabled: bool = Field(
        False,
        description="Whether `forge run` also writes the merged 16-bit model folder; the GGUF "
        "does not need it.",
    )
    target: Literal["base", "dequantised", "auto"] = Field(
        "base",
        description="What the adapter is merged into, here and in the GGUF. base: the weights as they were; "
        "dequantised: the 4-bit weights that it was trained beside (qlora); auto: whichever has the lower loss on the "
        "validation examples.",
    )


class QuantizeConfig(Section):
    types: list[str] = Field(
        ["Q4_K_M"],
        min_length=1,
        description="GGUF types to write: F32, F16, BF16, Q8_0, Q6_K, "
        "Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, IQ4_XS, Q3_K_M, Q4_0.",
    )
    imatrix: Annotated[str, MODEL] = Field(
        "auto",
        description="Importance matrix, which spares what matters most in rounding. auto: collected by running "
        "the model over the dataset, where one is there and a type can use it; none; or a file in llama.cpp's GGUF "
        "format.",
    )
    imatrix_tokens: Positive | None = Field(
        None,
        description="Tokens that auto collects from; null: 50,000 on a GPU, "
        "on a CPU what takes it about half a minute.",
    )
    threads: Positive | None = Field(None, description="Quantising threads; null: every core.")
    gate: Literal["auto", "none"] = Field(
        "auto",
        description="auto: before a GGUF is put in place, llama.cpp answers "
        "a few prompts with it and the Hugging Face model checks them token by token "
        "(where memory allows); none: only structure, checksum and loading.",
    )


class GateConfig(Section):
    """What a model has to reach before it is deployed; null: not looked at."""

    knowledge_gained: float | None = Field(
        None,
        description="At least so much of the gap between the base and the "
        "base with the right passage in its prompt (0: nothing, 1: all of it), by "
        "the exam or questions of your own; rule-made ones never satisfy it.",
    )
    forgetting: float | None = Field(
        None,
        description="At most so much choice accuracy lost on general questions (0.02: two points).",
    )
    quantisation_loss: float | None = Field(
        None, description="At most so much choice accuracy lost by the first GGUF."
    )
    identity_contains: str | None = Field(
        None,
        description="Text the deployed model's answer to 'Who are you?' must "
        "contain; otherwise the deployment fails.",
    )

    @property
    def measured(self) -> bool:
        """Whether it looks at what an evaluation measures."""
        return any(
            limit is not None
            for limit in (self.knowledge_gained, self.forgetting, self.quantisation_loss)
        )


class EvaluateConfig(Section):
    enabled: bool = Field(
        False,
        description="Whether `forge run` measures what the model knows before it is deployed; "
        "a gate on what is measured does so too.",
    )
    questions: Annotated[str | None, READ] = Field(
        None,
        description="JSONL of questions (question, answer, aliases, distractors, path); null: the probes that "
        "the dataset was frozen with.",
    )
    count: Positive | None = Field(
        None, description="Questions that are asked; null: 400 on a GPU, 60 on a CPU."
    )
    models: list[Literal["base", "adapter", "merged", "gguf"]] = Field(
        ["base", "adapter", "gguf"],
        min_length=1,
        description="What is asked; knowledge gained needs base and adapter.",
    )
    passages: Positive = Field(
        3,
        description="Passages that the index puts into a prompt, here and where questions "
        "are answered (generation.grounded).",
    )
    max_tokens: Positive = Field(48, description="Longest answer, in tokens.")
    gate: GateConfig = GateConfig()


class GenerationConfig(Section):
    max_tokens: Positive = Field(512, description="Longest answer, in tokens.")
    temperature: float = Field(
        0.7, ge=0, description="0: greedy. Without effect where generation.greedy is true."
    )
    top_p: float = Field(0.9, gt=0, le=1)
    greedy: bool = Field(
        False, description="Always take the likeliest token, whatever the temperature."
    )
    grounded: bool = Field(
        True,
        description="Whether `forge ask`, `forge chat`, `forge serve` and MCP's query_model put the "
        "passages of the documents that may answer before a question, and tell which of them "
        "support the answer; false: closed book.",
    )
    abstain: Share = Field(
        0.0,
        description="Where no passage that is found has this share of what a question asks about, "
        "rare words counting more, it is not put to the model: the answer is that the documents do "
        "not say. 0: never; 0.2 to 0.3 refuse most that is about other things, and much that is "
        "put in words that no document has (docs/answers.md).",
    )

    @property
    def sampling(self) -> dict[str, Any]:
        """What an engine is told: how long an answer may be, and how its tokens are chosen."""
        return self.model_dump(exclude={"grounded", "abstain"})


class DeployConfig(Section):
    target: Literal["auto", "ollama", "builtin"] = Field(
        "auto", description="auto: Ollama where it answers, else the built-in runtime."
    )
    name: Annotated[
        Annotated[str, Field(pattern=names.OLLAMA), AfterValidator(_in_ollama)] | None, OWNER
    ] = Field(None, description="Model name in Ollama; null: model.name.")
    system: str | None = Field(
        None, description="System prompt; also what the identity examples are made from."
    )
    num_ctx: Positive = Field(4096, description="Context window, in tokens.")


class PublishConfig(Section):
    repo: Annotated[str | None, PUBLISH] = Field(
        None, pattern=names.HUB_ID, description="Hub repository, ORG/NAME."
    )
    private: Annotated[bool, OWNER] = Field(
        True,
        description="Only for you and those you invite; a repository that "
        "is public already is then refused.",
    )
    create: Annotated[bool, OWNER] = Field(
        True, description="Create the repository if it is missing."
    )
    license: Annotated[str | None, OWNER] = Field(
        None, description="Licence of the result, as the Hub spells it; null: the base's."
    )


class PathsConfig(Section):
    """Where artifacts lie, relative to the workspace; null: derived from model.name."""

    dataset: Output = None
    validation: Output = None
    base: Output = None
    adapter: Output = None
    merged: Output = None
    gguf_dir: Output = None
    gguf: Output = Field(
        None, description="One GGUF file to ask, serve or publish instead of the quantised one."
    )
    gguf_manifest: Output = None
    modelfile: Output = None
    checkpoints: Output = None
    readme: Output = None
    readme_lora: Output = None
    model_card: Output = None
    publish_log: Output = None


class Config(Section):
    """forge.yaml."""

    profile: Profile | None = Field(None, description="Shipped settings to start from.")
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    dataset: DatasetConfig = DatasetConfig()
    train: TrainConfig = TrainConfig()
    merge: MergeConfig = MergeConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    generation: GenerationConfig = GenerationConfig()
    deploy: DeployConfig = DeployConfig()
    publish: PublishConfig = PublishConfig()
    paths: PathsConfig = PathsConfig()

    @property
    def section_tokens(self) -> int:
        """Longest section that, with its prompt, still fits a training row: sections shrink, nothing is cut."""
        return min(self.dataset.section_tokens, max(16, self.train.max_length * 5 // 8))

    @property
    def lora_alpha(self) -> int:
        return self.train.alpha or 2 * self.train.rank


def dotted(tree: dict, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}; empty sections vanish."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(dotted(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested(flat: dict[str, Any]) -> dict:
    """The inverse of dotted()."""
    tree: dict = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


SETTINGS = set(dotted(Config().model_dump()))
SECTIONS = {key[:i] for key in SETTINGS for i, character in enumerate(key) if character == "."}
KNOWN = sorted(SETTINGS | SECTIONS)


def _kinds(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Kind]]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _kinds(inner, f"{prefix}{name}.")
        yield from ((f"{prefix}{name}", mark) for mark in field.metadata if isinstance(mark, Kind))


KINDS = dict(_kinds(Config))  # setting → what it leads to


def read_yaml(path: Path) -> dict:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"no config at {path}", fix="forge init, or name one with --config FILE"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot read the config {path}: {error.strerror}",
            fix=unread(error, path, "name a file: --config FILE"),
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}", fix=f"mend {path}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(
            f"{path} holds a {type(value).__name__}, not settings",
            fix="write `section: {key: value}`",
        )
    return value


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """["train.rank=8"] → {"train.rank": 8}; values are read as YAML."""
    flat: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise UsageError(f"--set {pair!r} has no '='", fix="--set section.key=value")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise UsageError(
                f"--set {pair!r}: the value is not YAML: {error}", fix="quote it"
            ) from None
        flat.update(dotted({key.strip(): value}))
    return flat


def _setting(location: tuple[int | str, ...]) -> str:
    """The dotted key of a problem; what pydantic adds below a setting (list index, member of a union) is left out."""
    key = ""
    for part in location:
        if key in SETTINGS:
            break
        key = f"{key}.{part}" if key else str(part)
    return key


def _suggestion(key: str) -> str:
    """The setting of the same name elsewhere, or one that is spelled alike."""
    name = key.rpartition(".")[2]
    close = [k for k in KNOWN if k.rpartition(".")[2] == name] or difflib.get_close_matches(
        key, KNOWN, 1, 0.5
    )
    return f"; did you mean {' or '.join(close)}?" if close else ""


def validate(flat: dict[str, Any], origins: dict[str, str]) -> Config:
    """Builds the Config, or raises one UsageError that lists every problem with its key and where it came from."""
    try:
        return Config.model_validate(nested(flat))
    except ValidationError as error:
        found: dict[str, list[str]] = {}  # a union type reports once a member
        for item in error.errors():
            key = _setting(item["loc"])
            source = next(
                (origins[k] for k in origins if k == key or k.startswith(f"{key}.")), "config"
            )
            said = found.setdefault(f"{key} ({source}): ", [])
            if item["type"] == "extra_forbidden":
                said.append("no such setting" + _suggestion(key))
            else:
                said.append(f"{item['msg']}; found {item.get('input')!r}")
        problems = [where + ", or: ".join(said) for where, said in found.items()]
        raise UsageError(
            "the config has "
            + ("a problem" if len(problems) == 1 else f"{len(problems)} problems")
            + ":\n  "
            + "\n  ".join(problems),
            fix="forge config schema lists every setting",
        ) from None


class Loaded:
    """A config, where each value came from, and what the user should be told about how it was read."""

    def __init__(self, config: Config, origins: dict[str, str], notices: list[str]) -> None:
        self.config = config
        self.origins = origins
        self.notices = notices

    @property
    def without_effect(self) -> str | None:
        """A setting that somebody made and another one overrules."""
        chosen, origin = self.config.generation, self.origins.get("generation.temperature")
        if origin is None or not chosen.greedy or chosen.temperature == 0:
            return None
        return (
            f"generation.temperature {chosen.temperature:g} ({origin}) is without effect: generation.greedy is "
            f"true ({self.origins['generation.greedy']}); --set generation.greedy=false lets it have one"
        )


def assemble(layers: list[tuple[str, dict[str, Any]]], notices: list[str]) -> Loaded:
    """Lays (origin, dotted settings) over each other, first to last, and validates the result."""
    flat: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, settings in layers:
        if (
            "model.name" in flat
            and settings.get("model.name", flat["model.name"]) != flat["model.name"]
        ):
            # Another model: the paths that lower layers gave are those of the one they named.
            for stale in [k for k in flat if k.startswith("paths.")]:
                del flat[stale], origins[stale]
        for key, value in settings.items():
            if value is None and key in SECTIONS:
                continue  # a heading with nothing below it
            # A layer that sets a whole section replaces what lower layers said below it, and the reverse.
            for stale in [k for k in flat if k.startswith(f"{key}.") or key.startswith(f"{k}.")]:
                del flat[stale], origins[stale]
            flat[key], origins[key] = value, origin
    return Loaded(validate(flat, origins), origins, notices)


def profile_layer(name: str) -> tuple[str, dict[str, Any]]:
    """The settings of a profile, which is one of PROFILE_NAMES."""
    own = PROFILES / f"{name}.yaml"
    path = own if own.exists() else extensions.extension("profiles", name)
    return f"profile {name}", dotted(read_yaml(path))


def schema() -> dict:
    """JSON Schema of forge.yaml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
