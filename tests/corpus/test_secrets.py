"""Planted secrets are found, blanks of documentation are not. Secrets are put together here, so no scanner trips."""

import pytest

from forge.core.config import CorpusConfig
from forge.core.report import Silent
from forge.corpus.load import load
from forge.corpus.secrets import scan
from forge.errors import StageFailed

HEX = "0123456789abcdef" * 4
MIXED = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzA1bC2dE3fG4hH5jK6" * 3
LETTERS = "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ"
PLANTED = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n" + MIXED + "\n-----END RSA PRIVATE KEY-----",
    "age secret key": "AGE-SECRET-KEY-1" + "Q0P2" * 14 + "QQ",
    "connection string": "postgres://app:" + "hunter2x" + "@db.internal:5432/x",
    "Azure storage key": "AccountKey=" + MIXED[:86] + "==",
    "AWS access key": "AKIA" + "QWERTY23ASDFGH45",
    "AWS secret key": "aws_secret_access_key = " + MIXED[:40],
    "GitHub token": "ghp_" + MIXED[:36],
    "GitHub fine-grained token": "github_pat_" + MIXED[:60],
    "GitLab token": "glpat-" + MIXED[:20],
    "Hugging Face token": "hf_" + LETTERS[:34],
    "OpenRouter key": "sk-or-v1-" + HEX,
    "Anthropic key": "sk-ant-" + MIXED[:40],
    "OpenAI key": "sk-proj-" + MIXED[:48],
    "Stripe key": "sk_live_" + MIXED[:24],
    "Google API key": "AIza" + MIXED[:35],
    "Google OAuth secret": "GOCSPX-" + MIXED[:28],
    "Slack token": "xoxb-" + "123456789012-" + MIXED[:20],
    "Slack webhook": "https://hooks.slack.com/services/T" + "0AB/B0CD/" + MIXED[:24],
    "Discord webhook": "https://discord.com/api/webhooks/123456789/" + MIXED[:40],
    "Telegram bot token": "123456789:AA" + MIXED[:33],
    "SendGrid key": "SG." + MIXED[:22] + "." + MIXED[:43],
    "Mailgun key": "key-" + HEX[:32],
    "Twilio key": "SK" + HEX[:32],
    "npm token": "npm_" + MIXED[:36],
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" + MIXED[:60],
    "Docker Hub token": "dckr_pat_" + MIXED[:27],
    "DigitalOcean token": "dop_v1_" + HEX,
    "Shopify token": "shpat_" + HEX[:32],
    "Databricks token": "dapi" + HEX[:32],
    "Grafana token": "glsa_" + MIXED[:32] + "_" + HEX[:8],
    "JSON web token": "eyJ" + MIXED[:20] + ".eyJ" + MIXED[:30] + "." + MIXED[:20],
    "bearer token": "Authorization: Bearer " + MIXED[:30],
    "assigned secret": 'client_secret: "' + MIXED[:24] + '"',
    "e-mail address": "ada.lovelace" + "@" + "analytical.engine.org",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted(kind):
    text = f"line one\nhere: {PLANTED[kind]} and on\n"
    found = scan(text)
    assert [f.kind for f in found] == [kind]
    assert found[0].line == 2
    assert not any(text[f.start : f.end] in repr(f) for f in found)


@pytest.mark.parametrize(
    "text",
    [
        "api_key = your_api_key_here",
        "password: ${DB_PASSWORD}",
        "token = os.environ['TOKEN']",
        "git@github.com:org/x.git",
        "someone@example.com",
        "HUGGING_FACE_TOKEN=hf_your_token_here",
        "postgres://user:password@localhost/db",
        "the secret: patience and practice",
        "logo@2x.png",
        "sk-learn-contrib-packages-are-many-and-various-here",
        "commit 0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_blanks_are_left_alone(text):
    assert scan(text) == []


def test_policies(tmp_path):
    (tmp_path / "bad.md").write_text(f"x\n{PLANTED['GitHub token']}\n")
    (tmp_path / "good.md").write_text("fine\n")
    with pytest.raises(StageFailed, match=r"bad.md:2: GitHub token") as caught:
        load(CorpusConfig(), "fail", tmp_path, Silent())
    assert PLANTED["GitHub token"] not in str(caught.value)
    dropped = load(CorpusConfig(), "drop", tmp_path, Silent())
    assert [d.path for d in dropped.documents] == ["good.md"]
    assert dropped.dropped[0].path == "bad.md"
