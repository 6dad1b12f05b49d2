"""Files of Office before 2007 (DOC, PPT): refused by name, unless what they hold is another format under that name.

No kept library reads them: antiword and catdoc are GPL programs, textract and docx2txt call these, olefile opens the
container only, and Apache POI needs Java.
"""

from __future__ import annotations

from phoenix_forge.corpus.readers import (
    Unreadable,
    docx,
    html,
    markdown,
    packed,
    rtf,
    sheets,
    slides,
)

SLIDES = "PowerPoint Document".encode("utf-16-le")  # the name of a part
read = markdown.read


def extract(data: bytes) -> str:
    """Rich text, a web page or a newer file under an old name as such. Raises Unreadable for the others."""
    if data.lstrip().startswith(rtf.START):
        return rtf.extract(data)
    if data.startswith(b"PK"):
        return slides.extract(data) if slides.MAIN.encode() in data else docx.extract(data)
    if sheets.PAGE.match(data):
        return html.extract(data)
    if not data.startswith(packed.OLE):
        raise Unreadable("damaged, or not a file of Office")
    kind, newer = ("PowerPoint", "pptx") if SLIDES in data else ("Word", "docx")
    raise Unreadable(
        f"a {kind} file from before 2007, which Forge does not read",
        fix=f"save it as .{newer} (soffice --headless --convert-to {newer} FILE)",
    )
