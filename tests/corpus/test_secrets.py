"""Planted secrets are found wherever they stand, and leave nothing behind; blanks of documentation are left alone.

Secrets are put together here from harmless parts, so that no scanner of repositories trips over this file.
"""

import base64
import json
import re
import sysconfig
import time
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.secrets import RULES, redact, scan
from phoenix_forge.corpus.walk import File

HEX = "0123456789abcdef" * 4
MIXED = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzA1bC2dE3fG4hH5jK6" * 3
UPPER = "Q7ZK2M9X4WB6T3HN5VD8RJ1LPCG0YSFA" * 3
LETTERS = "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ"
BODY = "\n".join(MIXED[i : i + 64] for i in range(0, 128, 64)) + "\n" + MIXED[:11] + "="


def armoured(label, inside=BODY):
    dashes = "-" * 5
    return f"{dashes}BEGIN {label}{dashes}\n{inside}\n{dashes}END {label}{dashes}"


def account(country, own):
    """An IBAN with its check digits worked out (ISO 13616)."""
    number = "".join(str(int(c, 36)) for c in own + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{own}"


def card(start):
    """A card number with its Luhn digit worked out."""
    for last in "0123456789":
        digits = [int(c) for c in start + last]
        doubled = [
            d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))
        ]
        if sum(doubled) % 10 == 0:
            return start + last
    raise AssertionError


def encoded(text):
    return base64.b64encode(text.encode()).decode()


# kind, what stands before the secret, the secret, what stands behind it
PLANTED = [
    ("private key", "", armoured("RSA " + "PRIVATE KEY"), ""),
    ("private key", "", armoured("OPENSSH " + "PRIVATE KEY"), ""),
    (
        "private key",
        "",
        armoured("PGP " + "PRIVATE KEY BLOCK", "Version: 1\n\n" + BODY + "\n=aB3d"),
        "",
    ),
    ("private key", "", armoured("ENCRYPTED " + "PRIVATE KEY"), ""),
    ("private key", "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-" + "Lines: 2\n", BODY, ""),
    ("age secret key", "", "AGE-SECRET-KEY-1" + UPPER[:58], ""),
    ("connection string", "postgres://app:", "hunter2xlong", "@db.internal:5432/x"),
    ("connection string", "mongodb+srv://app:", "hunter2:x@long", "@cluster0.mongodb.net/x"),
    ("connection string", "redis://:", "hunter2xlong", "@cache:6379"),
    ("connection string", "https://ada:", "hunter2xlong", "@registry.host.dev/simple"),
    (
        "connection string",
        "Server=db1;Database=x;User Id=app;Pwd=",
        "hunter2xlong",
        ";Encrypt=true",
    ),
    (
        "Azure storage key",
        "AccountName=x;Account" + "Key=",
        MIXED[:86] + "==",
        ";EndpointSuffix=core.windows.net",
    ),
    ("Azure storage key", "Endpoint=sb://x/;SharedAccess" + "Key=", MIXED[:43] + "=", ""),
    ("Azure storage key", "", MIXED[:86] + "==", ""),
    ("Artifactory key", "", "AKCp" + MIXED[:69], ""),
    (
        "Azure SAS token",
        "https://x.blob.core.windows.net/c?sv=2022-11-02&sig" + "=",
        MIXED[:43] + "%3D",
        "",
    ),
    ("Azure client secret", "", "aB3" + "8Q~" + MIXED[:34], ""),
    ("AWS access key", "", "AKIA" + "QWERTY23ASDFGH45", ""),
    ("AWS access key", "", "ASIA" + "QWERTY23ASDFGH45", ""),
    ("AWS secret key", "aws_secret_access_key = ", MIXED[:40], ""),
    ("GitHub token", "", "ghp_" + MIXED[:36], ""),
    ("GitHub token", "", "ghs_" + MIXED[:36], ""),
    ("GitHub fine-grained token", "", "github_pat_" + MIXED[:22] + "_" + MIXED[:59], ""),
    ("GitLab token", "", "glpat-" + MIXED[:20], ""),
    ("Hugging Face token", "", "hf_" + LETTERS[:34], ""),
    ("OpenRouter key", "", "sk-or-v1-" + HEX, ""),
    ("Anthropic key", "", "sk-ant-" + "api03-" + MIXED[:90], ""),
    ("OpenAI key", "", "sk-proj-" + MIXED[:48], ""),
    ("OpenAI key", "", "sk-" + MIXED[:48], ""),
    ("Stripe key", "", "sk_live_" + MIXED[:24], ""),
    ("Stripe test key", "", "sk_test_" + MIXED[:24], ""),
    ("Stripe webhook secret", "", "whsec_" + MIXED[:32], ""),
    ("Google API key", "", "AIza" + MIXED[:35], ""),
    ("Google OAuth secret", "", "GOCSPX-" + MIXED[:28], ""),
    ("Google access token", "", "ya29." + MIXED[:80], ""),
    ("Slack token", "", "xoxb-" + "123456789012-" + MIXED[:24], ""),
    ("Slack token", "", "xapp-" + "1-A0B1C2-123456789012-" + MIXED[:24], ""),
    (
        "Slack webhook",
        "",
        "https://hooks.slack.com/services/T" + "0AB12345/B0CD12345/" + MIXED[:24],
        "",
    ),
    ("Discord webhook", "", "https://discord.com/api/webhooks/123456789/" + MIXED[:40], ""),
    ("Discord bot token", "", "M" + MIXED[:23] + "." + MIXED[:6] + "." + MIXED[:27], ""),
    ("Telegram bot token", "", "123456789:AA" + MIXED[:33], ""),
    ("SendGrid key", "", "SG." + MIXED[:22] + "." + MIXED[:43], ""),
    ("Mailgun key", "", "key-" + HEX[:32], ""),
    ("Mailchimp key", "", HEX[:32] + "-us12", ""),
    ("Brevo key", "", "xkeysib-" + HEX + "-" + MIXED[:16], ""),
    ("Twilio key", "", "SK" + HEX[:32], ""),
    ("npm token", "", "npm_" + MIXED[:36], ""),
    ("PyPI token", "", "pypi-" + "AgEIcHlwaS5vcmc" + MIXED[:60], ""),
    ("RubyGems key", "", "rubygems_" + HEX[:48], ""),
    ("crates.io token", "", "cio" + MIXED[:32], ""),
    ("Docker Hub token", "", "dckr_pat_" + MIXED[:27], ""),
    ("DigitalOcean token", "", "dop_v1_" + HEX, ""),
    ("Shopify token", "", "shpat_" + HEX[:32], ""),
    ("Databricks token", "", "dapi" + HEX[:32], ""),
    ("Grafana token", "", "glsa_" + MIXED[:32] + "_" + HEX[:8], ""),
    ("Linear key", "", "lin_api_" + MIXED[:40], ""),
    ("Notion token", "", "ntn_" + MIXED[:46], ""),
    ("Replicate token", "", "r8_" + MIXED[:37], ""),
    ("Groq key", "", "gsk_" + MIXED[:52], ""),
    ("xAI key", "", "xai-" + MIXED[:80], ""),
    ("Perplexity key", "", "pplx-" + MIXED[:48], ""),
    ("Vault token", "", "hvs." + MIXED[:24], ""),
    ("Terraform token", "", MIXED[:14] + ".atlasv1." + MIXED[:67], ""),
    ("Atlassian token", "", "ATATT3" + MIXED[:80], ""),
    ("Airtable token", "", "pat" + MIXED[:14] + "." + HEX, ""),
    ("Figma token", "", "figd_" + MIXED[:40], ""),
    ("Heroku key", "", "HRKU-" + MIXED[:60], ""),
    ("New Relic key", "", "NRAK-" + UPPER[:27], ""),
    ("Postman key", "", "PMAK-" + HEX[:24] + "-" + HEX[:34], ""),
    ("PlanetScale token", "", "pscale_tkn_" + MIXED[:43], ""),
    ("Pulumi token", "", "pul-" + HEX[:40], ""),
    ("Sentry token", "", "sntrys_" + MIXED[:80], ""),
    ("Square token", "", "sq0atp-" + MIXED[:22], ""),
    ("Supabase token", "", "sbp_" + HEX[:40], ""),
    ("Tailscale key", "", "tskey-" + "auth-" + MIXED[:12] + "-" + MIXED[:32], ""),
    ("Doppler token", "", "dp.pt." + MIXED[:43], ""),
    ("Alibaba access key", "", "LTAI" + MIXED[:20], ""),
    ("JSON web token", "", "eyJ" + MIXED[:20] + ".eyJ" + MIXED[:30] + "." + MIXED[:20], ""),
    ("bearer token", "Authorization: Bearer ", MIXED[:30], ""),
    ("basic credentials", "Authorization: Basic ", encoded("ada:engine" + "1843"), ""),
    ("assigned secret", 'client_secret: "', MIXED[:24], '"'),
    ("assigned secret", "MY_API_KEY=", MIXED[:24], ""),
    ("assigned secret", "password: ", "hunter2" + "longer", ""),
    ("assigned secret", "os.environ['DB_PASSWORD'] = '", "hunter2" + "longer", "'"),
    ("assigned secret", "**Password:** ", "hunter2" + "longer", ""),
    ("assigned secret", "?page=2&access_token=", MIXED[:32], "&x=1"),
    ("assigned secret", "setenv('AUTH_TOKEN', '", MIXED[:32], "')"),
    ("assigned secret", "psql --password ", "hunter2" + "longer", ""),
    ("bank account", "IBAN: ", account("DE", "370400440532013000"), ""),
    (
        "bank account",
        "IBAN ",
        " ".join(re.findall(".{1,4}", account("GB", "WEST12345698765432"))),
        "",
    ),
    ("card number", "card: ", card("453201511283036"), ""),
    ("card number", "my visa card ", "-".join(re.findall(".{4}", card("448591748206351"))), ""),
    ("e-mail address", "", "ada.lovelace" + "@" + "analytical.engine.org", ""),
    ("e-mail address", "mailto:", "o.h+list" + "@" + "mail-host.co.uk", ""),
]
CONTEXTS = {
    "prose": lambda x: f"Please use {x} when you call it.",
    "first on its line": lambda x: f"{x} is ours",
    "code": lambda x: f"client = connect({x})",
    "yaml": lambda x: f"  - value: {x}",
    "env": lambda x: f"export VALUE={x}",
    "quoted": lambda x: f"> she wrote '{x}' there",
    "code span": lambda x: f"run `{x}` once",
    "table": lambda x: f"| name | {x} |",
    "json": lambda x: json.dumps({"name": "x", "value": x}),
}
IDS = [f"{kind}-{i}" for i, (kind, *_) in enumerate(PLANTED)]


def pieces(secret):
    """Eight characters in a row of each line: what may not be left over."""
    lines = [
        line for line in secret.split("\n") if line and not line.startswith(("-----", "Version"))
    ]
    return {line[i : i + 8] for line in lines for i in range(max(1, len(line) - 7))}


def check(text, kind, secret, line):
    found = scan(text)
    assert [f.kind for f in found] == [kind], text
    assert found[0].line == line
    cleaned, offsets = redact(text, np.arange(len(text) + 1), found)
    assert len(offsets) == len(cleaned) + 1
    left = {piece for piece in pieces(secret) if piece in cleaned}
    assert not left
    assert not any(piece in repr(found) for piece in pieces(secret) - {"-" * 8})


@pytest.mark.parametrize(("kind", "before", "secret", "after"), PLANTED, ids=IDS)
def test_planted_everywhere(kind, before, secret, after):
    for context in CONTEXTS.values():
        text = context(before + secret + after)
        inner = text.split("\n").index(text.split("\n")[0]) + (
            before.count("\n") if "\\n" not in text else 0
        )
        for ahead, behind in (("", ""), ("first\nsecond\n", "\nlast\n"), ("first\r\n", "\r\nlast")):
            check(ahead + text + behind, kind, secret, ahead.count("\n") + inner + 1)


BARE = [
    (kind, secret)
    for kind, before, secret, _ in PLANTED
    if not before and re.fullmatch(r"[\w.~-]+", secret)
]


@pytest.mark.parametrize(
    ("kind", "secret"), BARE, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(BARE)]
)
def test_planted_in_a_url(kind, secret):
    check(f"see\nhttps://api.host.dev/v1/list?page=2&value={secret}&size=10 there", kind, secret, 2)
    check(f"see\nhttps://api.host.dev/v1/{secret}", kind, secret, 2)
    check(f"see\ngit clone https://{secret}@git.host.dev/ada/x.git", kind, secret, 2)


PASSWORD = "hunter2" + "longer"
TOKEN = "ghp_" + MIXED[:36]
# Files as people write them, with what must not be left of each.
WRITTEN = {
    "netrc": (f"machine git.host.dev\n  login ada\n  password {PASSWORD}\n", PASSWORD),
    "curl": (f"curl -sS -u ada:{PASSWORD} https://host.dev", PASSWORD),
    "curl with a word": ("curl --user 'ada:sword" + "fish' https://host.dev", "sword" + "fish"),
    "sshpass": (f"sshpass -p '{PASSWORD}' ssh ada@host", PASSWORD),
    "YAML, as it stands": (f"db:\n  password: |\n    {PASSWORD}\n  user: ada\n", PASSWORD),
    "YAML, folded": (f"token: >-\n  {MIXED[:32]}\nuser: ada\n", MIXED[:32]),
    "XML element": (f"<server><password>{PASSWORD}</password></server>", PASSWORD),
    "XML attributes": (f'<add key="DbPassword" value="{PASSWORD}" />', PASSWORD),
    "table": (f"| User | Password |\n| --- | --- |\n| ada | {PASSWORD} |\n", PASSWORD),
    "table with a word": (
        "| User | Password |\n| --- | --- |\n| ada | `sword" + "fish` |\n",
        "sword" + "fish",
    ),
    "row of a table": (f"| **DB password** | `{PASSWORD}` |", PASSWORD),
    "CSV": (f"user,password,role\nada,{PASSWORD},admin\n", PASSWORD),
    "prose": (f"The password for the router is {PASSWORD}.", PASSWORD),
    "prose with a word": ('The password is "sword' + 'fish" for now.', "sword" + "fish"),
    "German": ("Das Passwort lautet `Sommer" + "regen`.", "Sommer" + "regen"),
    "Spanish": (f"Contraseña: {PASSWORD}", PASSWORD),
    "Russian": (f"Пароль: {PASSWORD}", PASSWORD),
    "Chinese": (f"密码：{PASSWORD}", PASSWORD),
    "Japanese": ("パスワードは「sakura" + "mochi」です", "sakura" + "mochi"),
    "base64 that ends in =": (f"SECRET_KEY={encoded(MIXED[:31])}", encoded(MIXED[:31])),
    "WireGuard": ("PrivateKey = " + MIXED[:43] + "=", MIXED[:43] + "="),
    "Kubernetes": (f"kind: Secret\ndata:\n  password: {encoded(PASSWORD)}", encoded(PASSWORD)),
    "encoded": (f"echo {encoded(TOKEN)} | base64 -d", encoded(TOKEN)),
    "token over two lines": (
        f"the token\n    {TOKEN[:20]}\n    {TOKEN[20:]}\n\nand more",
        TOKEN[20:],
    ),
    "token in two strings": (f'x = ("{TOKEN[:20]}"\n     "{TOKEN[20:]}")', TOKEN[20:]),
    "token partly bold": (f"the token {TOKEN[:12]}**{TOKEN[12:]}** there", TOKEN[12:]),
}


@pytest.mark.parametrize("text, secret", WRITTEN.values(), ids=WRITTEN)  # noqa: PT006
def test_written_in_another_form(text, secret):
    found = scan(text)
    cleaned, _ = redact(text, np.arange(len(text) + 1), found)
    assert secret not in cleaned
    assert len(found) == 1
    assert text[found[0].end :].endswith(text.partition(secret)[2][-8:]), "what follows is left"


def test_every_rule_is_planted():
    written = {finding.kind for text, _ in WRITTEN.values() for finding in scan(text)}
    assert {rule.kind for rule in RULES} == {kind for kind, *_ in PLANTED} | written
    assert len({kind for kind, *_ in PLANTED}) >= 30


def test_key_of_a_service_account():
    text = json.dumps(
        {"type": "service_account", "private_key_id": "x", "private_key": PLANTED[0][2] + "\n"},
        indent=1,
    )
    assert "\\n" in text
    check(text, "private key", PLANTED[0][2].replace("\n", "\\n"), 4)


def test_key_cut_off_takes_only_its_lines():
    text = (
        PLANTED[0][2].rsplit("\n", 1)[0].rsplit("\n", 1)[0]
        + "\n\nAnd then the story goes on for long."
    )
    (finding,) = scan(text)
    assert text[finding.end :].strip() == "And then the story goes on for long."


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(PLANTED))
def test_found_in_any_text(ahead, behind, planted):
    kind, before, secret, after = planted
    text = f"{ahead}\n{before}{secret}{after}\n{behind}"
    mine = [
        f
        for f in scan(text)
        if f.start < text.index(secret) + len(secret) and f.end > text.index(secret)
    ]
    assert kind in {f.kind for f in mine}
    spans = [(f.start, f.end) for f in scan(text)]
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert all(f.line == text.count("\n", 0, f.start) + 1 for f in scan(text))


@pytest.mark.parametrize(
    "text",
    [
        "api_key = your_api_key_here",
        "password: ${DB_PASSWORD}",
        "token = os.environ['TOKEN']",
        "git@github.com:org/x.git",
        "someone@example.com",
        "HUGGING_FACE_TOKEN=hf_your_token_here",
        "hf_" + "X" * 36,
        "postgres://user:password@localhost/db",
        "the secret: patience and practice",
        "logo@2x.png",
        "sk-learn-contrib-packages-are-many-and-various-here",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "-----BEGIN RSA PRIVATE KEY----- is how such a file begins, then comes base64",
        "private_key: PKCS7PrivateKeyTypes,",
        '"AWS::AppSync::ApiKey": "3d104ea0be48564b"',
        "def login(password: Optional[str], token=DEFAULT_TOKEN_2):",
        "password=self.password1, token=get_token2(x)",
        "the token: 2024-01-15T10:00:00",
        "http://host.dev:8080/user@2x/page",
        "card 4111 1111 1111 1111",
        "card 1234567890123456",
        "IBAN DE00 3704 0044 0532 0130 00",
        "decorated with @app.route and @pytest.mark.slow",
        "install @scope/package@1.2.3",
        "Basic training and basic knowledge==",
        "+1 202 555 0143",
        "The password is required.",
        'The password is "incorrect" or "expired".',
        "password: `string`",
        "| Option | Password |\n|---|---|\n| type | string |\n| x | required |",
        "Enter user, password\nand then, done\nthe key, value",
        "password = getpass.getpass()",
        "<password>required</password>",
        "curl -u user:password https://host.dev",
        'curl -u "$USER:$PASS" https://host.dev',
        "Passwort: siehe Anhang",
        "Das Passwort ist erforderlich.",
        "password: 'currentPassword'",
        "machine learning login to your account password reset",
        "密码是必填项",
        "token: |\n  the words that follow",
        "base64 -d <<< SGVsbG8gd29ybGQsIHRoaXMgaXMganVzdCBhIHRleHQ=",
    ],
)
def test_blanks_are_left_alone(text):
    assert scan(text) == []


def share(files, allowed):
    """Findings in fewer than one in 200 files; with e-mail addresses, which sources hold, in at most `allowed`."""
    texts = [path.read_text("utf-8", "replace") for path in files]
    found = [
        (str(path), f.kind, f.line)
        for path, text in zip(files, texts, strict=True)
        for f in scan(text)
    ]
    wrong = {path for path, kind, _ in found if kind != "e-mail address"}
    assert len(wrong) * 200 < len(files), [entry for entry in found if entry[1] != "e-mail address"]
    assert len({path for path, *_ in found}) <= allowed * len(files), found


def test_real_corpus_is_left_alone():
    corpus = Path(__file__).parents[2].parent / "shared" / "corpus" / "sanctuary"
    if not corpus.is_dir():
        pytest.skip("the shared corpus is not here")
    share(sorted(p for p in corpus.rglob("*") if p.is_file()), 1 / 200)


def test_own_sources_and_the_standard_library_are_left_alone():
    root = Path(__file__).parents[2]
    own = [
        p
        for room in ("src", "docs", "bench")
        for p in (root / room).rglob("*")
        if p.suffix in (".py", ".md")
    ]
    share(sorted(own), 1 / 50)
    library = Path(sysconfig.get_path("stdlib"))
    chosen = [
        p
        for p in sorted([*library.glob("*.py"), *library.glob("*/*.py")])
        if p.stat().st_size < 60_000 and p.name != "test_netrc.py"
    ]  # which holds passwords
    share(Random(0).sample(chosen, min(400, len(chosen))), 1 / 4)  # many name their authors


N = 1 << 17
UGLY = [
    *(
        "a",
        "a ",
        "@",
        "a@",
        "a@b.",
        "@a.a",
        "password=",
        "password: ",
        "=",
        ":",
        "= ",
        "://",
        "://a:",
        "://a:b@",
    ),
    *(
        "eyJ",
        "-eyJ-",
        "eyJaaaaaaaa.",
        "ghp_",
        "sk-",
        "-sk-",
        "1",
        "4111 ",
        "DE",
        "iban DE89 ",
        "card 4",
        "\n",
        "\\n",
    ),
    *(
        "'",
        ",'",
        "token'",
        "-----BEGIN PRIVATE KEY-----\n",
        "bearer ",
        "basic ",
        "--password ",
        ".",
        ".a",
        "M",
    ),
    *(
        "server=a;",
        "hf_",
        "Private-Lines: 1\n",
        "xoxb-",
        "İ",
        "😀",
        "token=" + MIXED[:16],
        "password=aB3dE5fG=",
    ),
    *(
        MIXED[:64],
        BODY,
        "password is ",
        "| password |\n",
        "a,password\n",
        "machine a ",
        "machine a login b ",
    ),
    *("<password>", "name='password' ", "curl -u a:", "password: |\n ", "ghp_aB3d\n", "ghp_aB3d**"),
    "base64 " + MIXED[:80],
]


def seconds(text):
    """Of this process's own time, the least of three: another program's work shows in it, too."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        scan(text)
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UGLY)
def test_time_is_linear(unit):
    text = (unit * (N // len(unit) + 1))[:N]
    eighth, whole = seconds(text[: N // 8]), seconds(text)
    prose = seconds(("The quick brown fox: jumps = over, the lazy dog. " * (N // 48))[:N])
    assert whole < 24 * eighth + prose, (
        eighth,
        whole,
    )  # eight times as much where it is linear, 64 where a square
    assert whole < 200 * prose, (
        whole,
        prose,
    )  # text that is nothing but candidates; a square would be thousands


def test_policies(tmp_path):
    token = "ghp_" + MIXED[:36]
    (tmp_path / "bad.md").write_text(f"x\n{token}\n")
    file = File(tmp_path / "bad.md", "bad.md", "bad.md")
    redacted = load(file, "redact")
    assert "[REDACTED GitHub token]" in redacted.document.text
    assert token[4:12] not in redacted.document.text
    assert [(f.kind, f.line) for f in redacted.findings] == [("GitHub token", 2)]
    dropped = load(file, "drop")
    assert dropped.document is None
    assert token not in repr(dropped)
