"""Files that are no documents, by their names, and why: tables, which a user reads as reasons.

`SECRETS` are never read. `MADE` and build output are left out unless `corpus.exclude` takes them in again: `!*.svg`.
`BINARY` says what to do about a file whose bytes are not text.
"""
# ruff: noqa: PTH112, PTH118, PTH208

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase, translate
from pathlib import PurePosixPath
from typing import NamedTuple


class Exclusion(NamedTuple):
    """Why a file is left out; `folder` is the one that is left out whole, if it is."""

    reason: str
    folder: str = ""


def _rows(table: dict[str, str]) -> dict[str, str]:
    return {name: reason for names, reason in table.items() for name in names.split()}


SECRET = "holds keys or passwords: never a document"
# In lower case; with * as in a shell.
SECRETS = """.env .env.* .envrc .netrc _netrc .npmrc .pypirc .pgpass .git-credentials .htpasswd .dockercfg .vault-token
id_rsa id_dsa id_ecdsa id_ed25519 *.pem *.ppk *.p12 *.pfx *.jks *.keystore *.kdbx *.ovpn *.tfstate *.tfstate.backup
.*_history"""
SECRET_NAMES = re.compile("|".join(map(translate, SECRETS.split())))
SECRET_FOLDERS = {".ssh", ".gnupg"}
SECRET_ENDINGS = ("/.aws/credentials", "/.docker/config.json", "/.kube/config")
SAMPLES = (".example", ".sample", ".template", ".dist", ".md")  # of an .env file, without secrets

LOCK, STYLES, MINIFIED = "a lock file: versions and hashes", "styles, not text", "minified"
MADE = _rows(
    {
        "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock composer.lock "
        "gemfile.lock pipfile.lock poetry.lock pdm.lock uv.lock pixi.lock cargo.lock go.sum flake.lock mix.lock "
        "podfile.lock package.resolved packages.lock.json gradle.lockfile pubspec.lock conan.lock "
        ".terraform.lock.hcl": LOCK,
    }
)
MADE_ENDINGS = _rows(
    {
        ".svg .drawio .excalidraw": "a drawing",
        ".css .scss .sass .less": STYLES,
        ".canvas": "a canvas: places of cards, whose notes are read themselves",
        ".js.map .mjs.map .cjs.map .css.map .ts.map": "a source map",
        ".min.js .min.mjs .min.cjs .bundle.js": MINIFIED,
    }
)
OUTPUT = "build output or a tool's files"
# Folders that only tools write.
OUTPUTS = {
    ".next",
    ".nuxt",
    ".docusaurus",
    ".svelte-kit",
    ".turbo",
    ".parcel-cache",
    ".gradle",
    ".terraform",
    ".ipynb_checkpoints",
    ".eggs",
    ".nyc_output",
    ".dart_tool",
    "bower_components",
    "htmlcov",
    "__pycache__",
    "node_modules",
}
# Folders that people write in, too: names that stand beside them, or in them, where a tool made them.
LIKE_OUTPUT = {
    "target": (("Cargo.toml", "pom.xml", "build.sbt"), ("CACHEDIR.TAG",)),
    "_build": (("conf.py", "mix.exs", "dune-project"), (".buildinfo", "html", "doctrees")),
    "build": (
        ("build.gradle", "build.gradle.kts"),
        (
            "CACHEDIR.TAG",
            "CMakeCache.txt",
            "bdist.*",
            "lib.*",
            "*.map",
            "asset-manifest.json",
            "*.o",
        ),
    ),
    "dist": ((), ("*.map", "*.min.js", "*.whl", "*.tar.gz", "*.bundle.js", "*.d.ts")),
    "out": ((), ("*.map", "_next", "*.class", "production", "*.o")),
    "site": (("mkdocs.yml", "mkdocs.yaml"), ("sitemap.xml",)),
    "_site": (("_config.yml", "_config.yaml", "_quarto.yml"), ()),
}

OFFICE = "an office file of another program: save it as .docx, .pptx, .xlsx or PDF"
ARCHIVE = "an archive: unpack it, and what it holds is read"
TABLES = "a table that only programs read: save it as CSV"
BINARY = _rows(
    {
        ".gif .heic .heif .avif .ico .icns .jp2 .jxl .psd .ai .xcf .raw .cr2 .nef .dng .emf .wmf .eps .fig .sketch .png "
        ".jpg .jpeg .tif .tiff .webp .bmp": "a picture: save it as PNG or PDF, and its text can be recognised (OCR)",
        ".mp3 .wav .flac .ogg .opus .m4a .aac .wma .aiff .mid": "sound: write down what is said (.txt, .srt)",
        ".mp4 .mkv .mov .avi .webm .wmv .flv .m4v .mpg .mpeg": "a film: add its subtitles (.srt, .vtt)",
        ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .jar .war .whl .egg .deb .rpm .iso .dmg .cab": ARCHIVE,
        ".pages .numbers .key .wpd .wps .pub .vsd .vsdx .mpp .hwp .hwpx .odg .sxw .xmind .mmap": OFFICE,
        ".mobi .azw .azw3 .kfx .lit .fb2": "an e-book: save it as EPUB (Calibre does)",
        ".djvu .ps .xps .oxps .dvi": "pages: save them as PDF",
        ".msg .pst .ost .nsf": "mail: save it as .eml or .mbox",
        ".one .enex .notebook": "notes: export them as Word, HTML or Markdown",
        ".parquet .arrow .feather .orc .avro .sas7bdat .sav .dta .rdata .rds .h5 .hdf5 .nc .mat .npy .npz": TABLES,
        ".db .sqlite .sqlite3 .mdb .accdb .dbf .duckdb": "a database: export what matters as CSV or JSON",
        ".ttf .otf .woff .woff2 .eot": "a font",
        ".exe .dll .so .dylib .a .o .obj .lib .class .pyc .pyo .wasm .elc .mo .apk .msi": "a program, not its text",
        ".safetensors .gguf .pt .pth .ckpt .onnx .pkl .pickle .joblib .tflite .keras": "a model or its data",
        ".dwg .dxf .stl .step .stp .blend .fbx .glb .gltf .skp": "a model of a thing: export its text as PDF",
    }
)
UNKNOWN = "not text, and of no kind that Forge reads: save it as text or PDF"


def is_secret(name: str) -> bool:
    """Whether a path is that of a file of keys or passwords."""
    *folders, file = name.lower().rsplit("/", 2)
    if file.startswith(".env") and file.endswith(SAMPLES):
        return False
    return (
        SECRET_NAMES.fullmatch(file) is not None
        or not SECRET_FOLDERS.isdisjoint(folders)
        or f"/{name.lower()}".endswith(SECRET_ENDINGS)
    )


def lift(path: str) -> str:
    """The pattern for corpus.exclude that takes a file or folder in again which is left out by its name; or nothing."""
    if path.endswith("/"):
        return f"!{PurePosixPath(path).name}/"
    name = PurePosixPath(path).name
    if name.lower() in MADE:
        return f"!{name}"
    return next((f"!*{end}" for end in MADE_ENDINGS if name.lower().endswith(end)), "")


def is_liftable(reason: str) -> bool:
    """Whether a file is left out for one of the reasons of `Exclusions`, which the user can lift."""
    return reason in {*MADE.values(), *MADE_ENDINGS.values()} or reason.startswith(OUTPUT)


def by_bytes(name: str) -> str:
    """What a file is whose bytes are no text, and what to do about it."""
    return BINARY.get(PurePosixPath(name).suffix.lower(), UNKNOWN)


class Exclusions:
    """Files below one folder that tools made."""

    def __init__(self, start: str) -> None:
        self._start = start
        self._known: dict[str, str] = {"": ""}

    def of(self, below: str) -> Exclusion | None:
        """Why a file below the folder is left out unless the user wants it; None where it is not."""
        folder, _, file = below.rpartition("/")
        if output := self._output(folder):
            return Exclusion(OUTPUT, output)
        name = file.lower()
        reason = MADE.get(name) or next(
            (why for end, why in MADE_ENDINGS.items() if name.endswith(end)), ""
        )
        return Exclusion(reason) if reason else None

    def _output(self, folder: str) -> str:
        """The outermost folder of build output that a folder is, or lies in; or nothing."""
        if folder not in self._known:
            above, _, name = folder.rpartition("/")
            self._known[folder] = self._output(above) or (
                folder if self._is_output(above, name) else ""
            )
        return self._known[folder]

    def _is_output(self, above: str, name: str) -> bool:
        if name in OUTPUTS or name.endswith(".egg-info"):
            return True
        if name not in LIKE_OUTPUT:
            return False
        beside, within = LIKE_OUTPUT[name]
        at = os.path.join(self._start, above)
        return _has(at, beside) or _has(os.path.join(at, name), within)


def _has(folder: str, patterns: tuple[str, ...]) -> bool:
    names = os.listdir(folder) if patterns and os.path.isdir(folder) else []
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
