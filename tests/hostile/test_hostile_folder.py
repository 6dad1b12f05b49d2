"""A folder from elsewhere, as somebody who wants something would make it: its repository's settings, its links, its
forge.yaml, its names. Reading it runs nothing, writes nothing outside of it, and reads and sends nothing of the user's.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from phoenix_forge import pipeline
from phoenix_forge.cli.consoles import Logged, Plain, Terminal
from phoenix_forge.cli.mcp_tools import _fixed
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.config import KINDS, CorpusConfig
from phoenix_forge.core.fsio import write_text
from phoenix_forge.core.outside import Allowed
from phoenix_forge.corpus.walk import walk
from phoenix_forge.errors import UsageError
from phoenix_forge.project.folder import find_workspace
from phoenix_forge.workflow.old_config import ground

ROOT = Path(__file__).parents[2]
BIDI = "\u202e\u2066"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, with things in it that somebody would like to have or to change."""
    made = tmp_path / "home"
    (made / ".ssh").mkdir(parents=True)
    (made / ".bashrc").write_text("alias ll='ls -l'\n")
    (made / ".ssh/id.md").write_text("the user's key\n")
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("FORGE_ALLOW", raising=False)
    return made


def seen(folder: Path) -> dict[str, str]:
    """Every file of the user's with its content."""
    return {
        str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A workspace from elsewhere."""
    made = tmp_path / "clone"
    (made / "docs").mkdir(parents=True)
    (made / "docs/a.md").write_text("# A\n\nThe lamp is lit at dusk.\n")
    configure(made)
    return made


def configure(folder: Path, **sections: object) -> None:
    tree = {
        "model": {"base": "tiny", "name": "t"},
        "corpus": {"roots": ["docs"]},
        "dataset": {"teacher": "none"},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    (folder / "forge.yaml").write_text(yaml.safe_dump(tree))


def names(folder: Path, *roots: str) -> list[str]:
    return [
        file.relative for file in walk(CorpusConfig(roots=list(roots or ["docs"])), folder).files
    ]


# -- git: a repository's settings can have git start programs
def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    own = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def listed_by_git(folder: Path) -> None:
    """What Forge asked git for before it took care: shows that the trap works."""
    subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=folder,
        check=False,
        capture_output=True,
    )


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A program, and the file that it leaves where it runs."""
    program, ran = tmp_path / "program", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\nexit 1\n")
    program.chmod(0o755)
    return program, ran


def _monitor(folder: Path, program: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "config", "core.fsmonitor", str(program))


def _included(folder: Path, program: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    (folder / "more").write_text(f"[core]\n\tfsmonitor = {program}\n")
    git(folder, "config", "include.path", "../more")


def _bare(folder: Path, program: Path) -> None:
    """Nothing hidden: its HEAD, objects/ and refs/ are files as any."""
    git(folder, "init", "-q", "--bare")
    git(folder, "config", "core.fsmonitor", str(program))
    git(folder, "config", "core.bare", "false")
    git(folder, "config", "core.worktree", str(folder))
    subprocess.run(
        [
            "git",
            f"--git-dir={folder}",
            f"--work-tree={folder}",
            "-c",
            "core.fsmonitor=false",
            "add",
            "a.md",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def _fetched(folder: Path, program: Path) -> None:
    """An index that leaves a folder out, whose objects a remote would have to send: `uploadpack` is a command."""
    (folder / "sub").mkdir()
    (folder / "sub/b.md").write_text("b")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    tree = git(folder, "rev-parse", "HEAD:sub").stdout.decode().strip()
    git(folder, "sparse-checkout", "set", "--cone", "--sparse-index", "other")
    (folder / ".git/objects" / tree[:2] / tree[2:]).unlink()
    for name, value in (
        ("remote.origin.url", str(folder)),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", str(program)),
        ("extensions.partialClone", "origin"),
        ("core.repositoryFormatVersion", "1"),
        ("protocol.allow", "always"),
    ):
        git(folder, "config", name, value)


@pytest.mark.parametrize("lay", [_monitor, _included, _bare, _fetched])
def test_a_repository_has_git_run_nothing(
    clone: Path, trap: tuple[Path, Path], lay: Callable[[Path, Path], None]
) -> None:
    program, ran = trap
    lay(clone / "docs", program)
    listed_by_git(clone / "docs")
    assert ran.exists(), "the trap is none"
    ran.unlink()
    assert "docs/a.md" in names(clone)
    assert not ran.exists()


def test_a_forged_index_names_no_file_outside(clone: Path, home: Path) -> None:
    (clone / "secret.md").write_text("beside the corpus")
    (clone / "docs/aa").mkdir()
    (clone / "docs/aa/secret.md").write_text("x")
    git(clone / "docs", "init", "-q")
    git(clone / "docs", "add", "-A")
    index = clone / "docs/.git/index"
    forged = index.read_bytes()[:-20].replace(b"aa/secret.md", b"../secret.md")
    index.write_bytes(forged + hashlib.sha1(forged).digest())
    assert (
        "../secret.md"
        in subprocess.run(
            ["git", "ls-files"], cwd=clone / "docs", capture_output=True, text=True, check=True
        ).stdout
    ), "the trap is none"
    assert names(clone) == ["docs/a.md", "docs/aa/secret.md"]


def test_what_git_knows_below_a_link_is_not_read(clone: Path, home: Path) -> None:
    (clone / "docs/keys").mkdir()
    (clone / "docs/keys/id.md").write_text("a document")
    git(clone / "docs", "init", "-q")
    git(clone / "docs", "add", "-A")
    (clone / "docs/keys/id.md").unlink()
    (clone / "docs/keys").rmdir()
    (clone / "docs/keys").symlink_to(home / ".ssh")
    assert names(clone) == ["docs/a.md"]


def test_ignore_rules_hold_wherever_git_has_them(clone: Path, home: Path) -> None:
    for name in ("b.log", "c.tmp", "d.bak", "e.log"):
        (clone / "docs" / name).write_text("x")
    git(clone, "init", "-q")
    (home / ".gitconfig").write_text(f"[core]\n\texcludesFile = {home}/ignored\n")
    (home / "ignored").write_text("*.bak\n")
    (clone / ".git/info/exclude").write_text("*.tmp\n")
    (clone / ".gitignore").write_text("*.log\n")
    git(clone, "add", "-f", "docs/e.log")
    assert names(clone) == ["docs/a.md", "docs/e.log"]


def test_another_repository_of_the_environment_is_not_asked(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Forge is started by a hook, git says to it which repository that was."""
    git(tmp_path, "init", "-q", "other")
    git(clone, "init", "-q")
    (clone / ".gitignore").write_text("b.md\n")
    (clone / "docs/b.md").write_text("b")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert names(clone) == ["docs/a.md"]


@root_only
def test_a_repository_of_another_user_is_walked_without_git(clone: Path) -> None:
    (clone / ".gitignore").write_text("b.md\n")
    (clone / "docs/b.md").write_text("b")
    git(clone, "init", "-q")
    for path in (clone, clone / ".git"):
        os.chown(path, 12345, 12345)
    assert names(clone) == ["docs/a.md"]


# -- links
def context(folder: Path, **flags: object) -> object:
    return Setup(workspace=folder, quiet=True, **flags).context()  # type: ignore[arg-type]


FILES = [
    ".forge/lock",
    ".forge/digests.json",
    ".forge/dataset.sqlite",
    ".forge/teacher.sqlite-wal",
    ".forge/manifests/train.json",
    "logs/forge.log",
    "logs/metrics.jsonl",
    "dataset_package/.t.jsonl.partial",
    ".Modelfile.partial",
    "outputs/report/.dataset.html.partial",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", [".bashrc", "new"])
def test_a_link_in_the_place_of_a_file_of_forges_is_refused(
    clone: Path, home: Path, name: str, target: str
) -> None:
    before = seen(home)
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    (clone / name).symlink_to(home / target)
    with pytest.raises(UsageError, match="is a link to") as caught:
        context(clone)
    assert str(caught.value.fix).startswith("rm ")
    Setup(workspace=clone, optional=True, quiet=True).report.info(
        "said by a command that needs no config"
    )
    assert seen(home) == before


@pytest.mark.parametrize(
    "name",
    [
        ".forge",
        "logs",
        "models",
        "outputs",
        "dataset_package",
        "huggingface",
        "docs/sub",
        "models/gguf",
        "outputs/report",
        ".forge/manifests",
        "logs/runs",
    ],
)
def test_a_link_in_the_place_of_a_folder_needs_the_users_word(
    clone: Path, home: Path, name: str
) -> None:
    before = seen(home)
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).symlink_to(home / ".ssh")
    if name == "docs/sub":  # nothing is written there, and a walk does not follow it
        assert names(clone) == ["docs/a.md"]
        return
    with pytest.raises(UsageError, match="follow the link to") as caught:
        context(clone)
    assert "forge allow" in str(caught.value.fix)
    Setup(workspace=clone, optional=True, quiet=True).report.info(
        "said by a command that needs no config"
    )
    assert seen(home) == before


@pytest.mark.parametrize(
    "name", ["models/gguf/t-Q4_K_M.gguf", "huggingface/README.md", "Modelfile"]
)
def test_a_result_that_is_a_link_to_the_users_file_is_not_published(
    clone: Path, home: Path, name: str
) -> None:
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    (clone / name).symlink_to(home / ".ssh/id.md")
    with pytest.raises(UsageError, match="follow the link to"):
        context(clone)


def test_a_link_of_the_users_own_is_allowed_once_and_for_this_target(
    clone: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "other").mkdir()
    (clone / "models").symlink_to(tmp_path / "disk")
    allow(clone)
    context(clone)
    (clone / "models").unlink()
    (clone / "models").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="other"):
        context(clone)


def test_links_into_a_cache_hold_a_base(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("{}")
    (clone / "models/base/me/m").mkdir(parents=True)
    (clone / "models/base/me/m/config.json").symlink_to(tmp_path / "blob")
    context(clone)


def test_a_link_inside_has_nothing_truncated(clone: Path, home: Path) -> None:
    ctx = Setup(workspace=clone, quiet=True).context()
    (clone / ".forge").mkdir(exist_ok=True)
    (clone / ".forge/lock").symlink_to(clone / "docs/a.md")
    with pytest.raises(UsageError, match="is a link"), pipeline.lock(ctx):
        pass
    assert "lamp" in (clone / "docs/a.md").read_text()
    (clone / ".out.partial").symlink_to(home / ".bashrc")
    write_text(clone / "out", "ours")
    assert (clone / "out").read_text() == "ours"
    assert "alias" in (home / ".bashrc").read_text()


def test_a_pipe_in_the_place_of_a_log_is_refused_at_once(clone: Path) -> None:
    (clone / "logs").mkdir()
    os.mkfifo(clone / "logs/forge.log")
    with pytest.raises(UsageError, match="is a link or a pipe"):
        Setup(workspace=clone, optional=True, quiet=True).report.info("x")


# -- names
@pytest.mark.parametrize(
    "name",
    [
        "a\x1b]0;x\x07.md",
        "a\n2026-01-01 00:00:00 stage train done.md",
        f"a{BIDI}.md",
        "a\x9b31m.md",
        "a\r.md",
        "a\u2028.md",
        "a\udce9.md",
    ],
)
def test_names_are_escaped_wherever_they_are_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for console in (Plain(), Terminal()):
        report = Logged(console, tmp_path / "logs/forge.log")
        report.info(name)
        report.warn(name)
        report.stage("dataset", "done", name)
    console.progress("[/]" + name, 1, 2)
    console.close()
    Setup(workspace=tmp_path).emit({}, f"read:\n{name}")
    Setup(workspace=tmp_path, json=True).emit({"path": name.replace("\udce9", "")})
    said = capsys.readouterr()
    logged = (tmp_path / "logs/forge.log").read_text(encoding="utf-8")
    assert len(logged.splitlines()) == 6
    for text in (logged, said.out):
        assert not set(text) & {*"\x1b\x07\x9b\r\u2028\udce9", *BIDI}
    assert name not in said.err
    assert json.loads(said.out.splitlines()[-1]) == {"path": name.replace("\udce9", "")}


def test_words_of_people_stay_as_they_are(tmp_path: Path) -> None:
    words = "Qu’est-ce\u00a0? می\u200cروم 東京 👩\u200d🚀 größe\u202fm"
    Logged(Plain(), tmp_path / "forge.log").info(words)
    assert words in (tmp_path / "forge.log").read_text(encoding="utf-8")


# -- forge.yaml
def allow(folder: Path) -> None:
    setup = Setup(workspace=folder)
    Allowed().add(folder, setup.project.outside)


REACHES: dict[str, dict[str, dict[str, object]]] = {
    "corpus.roots": {"corpus": {"roots": ["docs", "~"]}},
    "corpus.manifest": {"corpus": {"manifest": "~/list.json"}},
    "list.json": {"corpus": {"manifest": "list.json"}},
    "paths.modelfile": {"paths": {"modelfile": "~/.bash_login"}},
    "paths.adapter": {"paths": {"adapter": "docs/../../home/.config"}},
    "evaluate.questions": {"evaluate": {"questions": "/etc/passwd"}},
    "dataset.teacher": {"dataset": {"teacher": "https://elsewhere.example/v1#m"}},
}


@pytest.mark.parametrize("key", REACHES)
def test_what_a_config_names_outside_needs_the_users_word(
    clone: Path, home: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "list.json").write_text(json.dumps({"common_content": ["docs", "../home"]}))
    configure(clone, **REACHES[key])
    with pytest.raises(UsageError, match=key) as caught:
        context(clone)
    assert "forge allow" in str(caught.value.fix)
    context(clone, config=clone / "forge.yaml")  # named on the command line: the user's word
    with monkeypatch.context() as ci:
        ci.setenv("FORGE_ALLOW", "1")
        context(clone)
    allow(clone)
    context(clone)
    configure(clone, **REACHES[key], publish={"repo": "a/b"}, train={"epochs": 1})
    context(clone)  # other settings ask for nothing
    configure(clone, **REACHES[key] | {"paths": {"merged": "~/elsewhere"}})
    with pytest.raises(UsageError, match=r"paths\.merged"):
        context(clone)


@pytest.mark.parametrize(
    "sections",
    [
        {"paths": {"readme": "linked/README.md"}},
        {"corpus": {"roots": ["linked"]}},
        {"corpus": {"manifest": "linked/list.json"}},
    ],
)
def test_a_config_names_nothing_outside_by_a_link(
    clone: Path, home: Path, sections: dict[str, object]
) -> None:
    (clone / "linked").symlink_to(home)
    configure(clone, **sections)
    with pytest.raises(UsageError, match="linked"):
        context(clone)


def test_a_flag_is_the_users_word(clone: Path, home: Path) -> None:
    Setup(
        workspace=clone, quiet=True, set=["corpus.roots=['~']", f"paths.modelfile={home}/Modelfile"]
    ).context()


@pytest.mark.parametrize(
    "teacher",
    [
        "http://127.0.0.1:8080/v1#m",
        "http://localhost:1/v1#m",
        "http://[::1]:1/v1#m",
        "ollama:x",
        "auto",
        "none",
    ],
)
def test_this_machine_is_inside(clone: Path, teacher: str) -> None:
    configure(clone, dataset={"teacher": teacher})
    context(clone)


@pytest.mark.parametrize(
    "teacher", ["http://127.0.0.1.elsewhere.example/v1#m", "http://localhost@elsewhere.example/#m"]
)
def test_a_name_like_this_machines_is_not_it(clone: Path, teacher: str) -> None:
    configure(clone, dataset={"teacher": teacher})
    with pytest.raises(UsageError, match="send documents to"):
        context(clone)


def test_shipped_configs_and_the_workflows_ask_nothing(clone: Path) -> None:
    context(ROOT / "demo")
    for profile in ("quick", "sanctuary"):
        (clone / "forge.yaml").write_text(f"profile: {profile}\ncorpus: {{roots: [docs]}}\n")
        context(clone)
    (clone / "forge/config").mkdir(parents=True)
    for file in (ROOT / "forge/config").glob("*_config.yaml"):
        (clone / "forge/config" / file.name).write_bytes(file.read_bytes())
    context(clone, ground=ground)


def test_publishing_where_the_folder_says_needs_the_users_word(clone: Path) -> None:
    configure(clone, publish={"repo": "elsewhere/collected"})
    setup = Setup(workspace=clone, quiet=True)
    setup.context()
    with pytest.raises(UsageError, match="publish to elsewhere/collected"):
        setup.project.may_publish()
    allow(clone)
    Setup(workspace=clone, quiet=True).project.may_publish()


def test_allow_shows_and_remembers(
    clone: Path, run_forge: Callable, home: Path, tmp_path: Path
) -> None:
    configure(clone, paths={"modelfile": "~/.bash_login"})
    env = {"HOME": str(home)}
    refused = run_forge("plan", cwd=clone, env=env)
    assert refused.code == 2
    assert f"paths.modelfile: write to {home}/.bash_login" in refused.stderr
    assert "fix: forge allow" in refused.stderr
    allowed = run_forge("allow", "--json", cwd=clone, env=env)
    assert allowed.json["allowed"] == [
        f"paths.modelfile: write to {home}/.bash_login (~/.bash_login)"
    ]
    assert str(clone) in (home / ".config/forge/allowed").read_text()
    assert run_forge("status", cwd=clone, env=env).code == 0
    (tmp_path / "no").write_text("no folder")
    nowhere = run_forge("allow", cwd=clone, env={"XDG_CONFIG_HOME": str(tmp_path / "no")})
    assert nowhere.code == 3
    assert "FORGE_ALLOW=1" in nowhere.stderr


@root_only
def test_another_users_word_is_not_mine(clone: Path) -> None:
    configure(clone, paths={"modelfile": "~/.bash_login"})
    allow(clone)
    os.chown(Allowed().path, 12345, 12345)
    with pytest.raises(UsageError, match="modelfile"):
        context(clone)


@root_only
def test_a_parents_config_of_another_user_is_not_taken(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone / "docs")
    assert find_workspace(Path.cwd()) == clone
    os.chown(clone / "forge.yaml", 12345, 12345)
    assert find_workspace(Path.cwd()) == clone / "docs"
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        Setup().context()
    assert f"--workspace {clone}" in str(caught.value.fix)
    assert find_workspace(clone) == clone, "who goes there takes it"


# -- assistants
@pytest.mark.parametrize(
    "settings",
    [
        {"evaluate.questions": "/etc/passwd"},
        {"evaluate.questions": "docs/q.jsonl"},
        {"model.base": "/etc"},
        {"model.base": "../x.gguf"},
        {"model.base": "~/x"},
        {"model.base": "linked/x"},
        {"quantize.imatrix": "/etc/passwd"},
        {"profile": "sanctuary"},
        {"model.name": "other"},
        {"corpus": None, "corpus.roots": ["/"]},
        {"corpus.exclude": []},
        {"paths.modelfile": "README.md"},
        {"publish.private": False},
    ],
)
def test_an_assistant_sets_no_place(clone: Path, home: Path, settings: dict[str, object]) -> None:
    (clone / "linked").symlink_to(home)
    configure(clone, corpus={"exclude": ["private"]})
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    fixed = _fixed(Setup(workspace=clone), Setup(workspace=clone, set=pairs))
    assert set(fixed) & KINDS.keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"train.epochs": 1},
        {"model.base": "qwen2.5-coder-1.5b"},
        {"model.base": "a/b"},
        {"quantize.imatrix": "none"},
        {"corpus.roots": ["docs"]},
    ],
)
def test_an_assistant_chooses_a_model_and_how_it_is_made(
    clone: Path, settings: dict[str, object]
) -> None:
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    assert not _fixed(Setup(workspace=clone), Setup(workspace=clone, set=pairs))


# -- children
def test_a_document_called_like_a_module_is_not_imported(clone: Path, tmp_path: Path) -> None:
    for name in ("json", "pathlib", "typer", "fnmatch"):
        (clone / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "phoenix_forge", "config", "show"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
