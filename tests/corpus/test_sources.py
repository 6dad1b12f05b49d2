"""Lists of sources in the original workflow's form: what they mean, and that every mistake in one is told at once."""

import json

import pytest

from phoenix_forge.corpus.sources import read_sources
from phoenix_forge.errors import UsageError


@pytest.fixture
def root(tmp_path):
    for folder in ("docs", "ADRs", "scripts", "TASKS"):
        (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text("x")
    return tmp_path


def written(root, data, name="list.json"):
    path = root / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


ORIGINAL = {
    "description": "who reads what",
    "common_content": ["docs/", "README.md", {"path": "ADRs", "why": "decisions"}],
    "unique_rag_content": ["TASKS", "not/there"],
    "unique_forge_content": ["scripts", "docs/"],
    "unique_soul_content": [],
}


def test_original_form(root):
    sources = read_sources(written(root, ORIGINAL), root)
    assert sources.roots == ["docs/", "README.md", "ADRs", "scripts"]
    assert sources.exclude == []
    (notice,) = sources.notices
    assert "unique_rag_content, unique_soul_content" in notice


def test_yaml_is_the_same(root):
    text = "common_content:\n- docs/\n- README.md\n- path: ADRs\nunique_forge_content: [scripts]\nexcludes: ['*.log']\n"
    sources = read_sources(written(root, text, "list.yaml"), root)
    assert sources.roots == ["docs/", "README.md", "ADRs", "scripts"]
    assert sources.exclude == ["*.log"]


def test_exclusions(root):
    data = {
        "common_content": ["docs"],
        "exclude_patterns": ["**/test_*.py", "*.bak", ".*\\.(log)$", "^npm-debug\\.log.*$"],
        "recursive_exclude": ["build"],
        "exclude_dir_names": ["node_modules"],
        "always_exclude_files": [".DS_Store"],
        "allowed_extensions": [".md"],
    }
    sources = read_sources(written(root, data), root)
    assert sources.exclude == ["**/test_*.py", "*.bak", ".DS_Store", "**/build", "**/node_modules/"]
    assert sources.exclude_regex == [".*\\.(log)$", "^npm-debug\\.log.*$"]
    assert "allowed_extensions" in sources.notices[0]


def test_an_entry_may_lie_outside(root):
    inner = root / "workspace"
    inner.mkdir()
    assert read_sources(written(inner, {"common_content": ["../docs"]}), inner).roots == ["../docs"]


def test_every_problem_is_told_at_once(root):
    data = {
        "common_content": ["gone.md", "docs", 3, {"paht": "docs"}, "  "],
        "unique_forge_content": "scripts",
        "exclude_patterns": ["(.*"],
        "exclude_dirnames": ["x"],
    }
    with pytest.raises(UsageError) as caught:
        read_sources(written(root, data), root)
    for part in (
        "common_content: 'gone.md' does not exist",
        "common_content[2]: 3",
        "common_content[3]: {'paht'",
        "common_content[4]",
        "unique_forge_content: is a str, not a list",
        "exclude_patterns: '(.*'",
        "did you mean 'exclude_dir_names'",
    ):
        assert part in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.fix


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[1, 2]", "holds a list, not sections"),
        ("{", "list.json"),
        ("{}", "names no source"),
        ('{"unique_rag_content": ["docs"]}', "names no source"),
        ('{"comon_content": ["docs"]}', "did you mean 'common_content'"),
        ("", "list.json"),
    ],
)
def test_not_a_list_of_sources(root, data, said):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        read_sources(written(root, data), root)


def test_missing_or_unreadable_file(root):
    with pytest.raises(UsageError, match="does not exist"):
        read_sources(root / "none.json", root)
    with pytest.raises(UsageError, match="cannot be read"):
        read_sources(root, root)
    (root / "bad.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_sources(root / "bad.json", root)
