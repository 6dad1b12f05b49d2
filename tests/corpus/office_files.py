"""Helpers of the tests that read packed documents."""

import io
import zipfile

from phoenix_forge.corpus.readers import Unreadable, extract, structure


def zipped(files):
    """A zip file of names and what they hold."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read(name, data):
    """The Markdown blocks of a document."""
    return extract(name, data).rstrip("\n").split("\n\n")


def reason(name, data):
    """Why a file is not read; None where it is, and then its blocks are the whole of its text."""
    try:
        made = extract(name, data)
    except Unreadable as problem:
        return problem.message
    assert made.strip()
    assert "".join(made[block.start : block.end] for block in structure(name, made).blocks) == made
    return None


def damaged(data, chance, count):
    """The file with `count` bytes of it changed."""
    changed = bytearray(data)
    for _ in range(count):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)
