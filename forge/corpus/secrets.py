"""Keys, tokens, private keys, connection strings and e-mail addresses in a text. What is found is never shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret's kind and place: characters of the text, and the line (from 1). Its text is kept out on purpose."""

    kind: str
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`hint` must occur in the lower-cased text before the pattern is tried; group `secret`, where there is one, is
    what gets replaced; `real` tells a secret from a placeholder.
    """

    kind: str
    hint: str
    pattern: re.Pattern[str]
    real: Callable[[str], bool] = lambda secret: True


def _entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


PLACEHOLDER = re.compile(r"example|placeholder|your|change_?me|xxx|\*\*\*|dummy|sample|secret|password|redacted|<|\$|"
                         r"\{|\.\.\.|…|test|foo|process\.env|os\.environ", re.IGNORECASE)


def _random(secret: str) -> bool:
    """Long, mixed, and not a word that documentation uses for a blank."""
    return (len(secret) >= 12 and not PLACEHOLDER.search(secret) and _entropy(secret) >= 3.2
            and any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret))


def _filled(secret: str) -> bool:
    return not PLACEHOLDER.search(secret)


RESERVED = re.compile(r"(^|[@.])(example|test|invalid|localhost|local|domain|email)(\.(com|org|net))?$|noreply|no-reply"
                      r"|^git@", re.IGNORECASE)


def _address(secret: str) -> bool:
    """Somebody's e-mail address: neither a name reserved for examples (RFC 2606) nor a git remote or asset name."""
    return not RESERVED.search(secret) and not re.search(r"\.(png|jpe?g|gif|svg|webp|js|py|md)$", secret, re.IGNORECASE)


def _rule(kind: str, hint: str, pattern: str, real: Callable[[str], bool] = lambda secret: True) -> Rule:
    return Rule(kind, hint, re.compile(pattern), real)


# Formats as their issuers document them. Order matters: the first rule to claim a place keeps it.
RULES = (
    _rule("private key", "private key", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
          r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"),
    _rule("age secret key", "age-secret-key-", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    _rule("connection string", "://", r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"<>`]*:(?P<secret>[^\s:/@'\"<>`]{3,})@"
          r"[\w.\-\[\]]+", _filled),
    _rule("Azure storage key", "accountkey=", r"(?i)AccountKey=(?P<secret>[A-Za-z0-9+/]{43,86}={0,2})"),
    _rule("AWS access key", "a", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}\b", lambda s: "EXAMPLE" not in s),
    _rule("AWS secret key", "aws", r"(?i)aws_?secret_?(?:access_?)?key['\"]?\s*[:=]\s*['\"]?"
          r"(?P<secret>[A-Za-z0-9/+]{40})\b", lambda s: "EXAMPLE" not in s),
    _rule("GitHub token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _rule("GitHub fine-grained token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{50,255}\b"),
    _rule("GitLab token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}\b"),
    _rule("Hugging Face token", "hf_", r"\b(?:hf|api_org)_[A-Za-z]{34,40}\b"),
    _rule("OpenRouter key", "sk-or-", r"\bsk-or-v1-[0-9a-f]{64}\b"),
    _rule("Anthropic key", "sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{32,}\b"),
    _rule("OpenAI key", "sk-", r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}\b", _random),
    _rule("Stripe key", "_live_", r"\b(?:sk|rk|pk)_live_[A-Za-z0-9]{16,}\b"),
    _rule("Stripe test key", "_test_", r"\b(?:sk|rk)_test_[A-Za-z0-9]{16,}\b"),
    _rule("Google API key", "aiza", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    _rule("Google OAuth secret", "gocspx-", r"\bGOCSPX-[A-Za-z0-9_-]{28}\b"),
    _rule("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}\b"),
    _rule("Slack webhook", "hooks.slack.com", r"https://hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]+"),
    _rule("Discord webhook", "/api/webhooks/", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}"),
    _rule("Telegram bot token", ":aa", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    _rule("SendGrid key", "sg.", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    _rule("Mailgun key", "key-", r"\bkey-[0-9a-f]{32}\b"),
    _rule("Twilio key", "sk", r"\bSK[0-9a-f]{32}\b"),
    _rule("npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _rule("PyPI token", "pypi-", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    _rule("Docker Hub token", "dckr_pat_", r"\bdckr_pat_[A-Za-z0-9_-]{27,}\b"),
    _rule("DigitalOcean token", "do", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    _rule("Shopify token", "shp", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    _rule("Databricks token", "dapi", r"\bdapi[a-f0-9]{32}\b"),
    _rule("Grafana token", "glsa_", r"\bglsa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8}\b"),
    _rule("Linear key", "lin_api_", r"\blin_api_[A-Za-z0-9]{40}\b"),
    _rule("Notion token", "ntn_", r"\bntn_[A-Za-z0-9]{40,}\b"),
    _rule("Replicate token", "r8_", r"\br8_[A-Za-z0-9]{37,40}\b"),
    _rule("Groq key", "gsk_", r"\bgsk_[A-Za-z0-9]{48,}\b"),
    _rule("Vault token", "hvs.", r"\bhvs\.[A-Za-z0-9_-]{24,}\b"),
    _rule("JSON web token", "eyj", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}"),
    _rule("bearer token", "bearer", r"(?i)\bauthorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+"
          r"(?P<secret>[A-Za-z0-9._~+/=-]{16,})", _random),
    _rule("assigned secret", "", r"(?i)\b[\w-]{0,40}(?:api_?key|secret(?:_?key)?|access_?token|auth_?token|token|"
          r"passwd|password|private_?key)['\"]?\s*(?:=|:|=>)\s*['\"]?"
          r"(?P<secret>[A-Za-z0-9_+/=.~!@#%^&*-]{12,})", _random),
    _rule("e-mail address", "@", r"(?<![\w.+/-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+"
          r"[A-Za-z]{2,24}(?![\w@])", _address),
)


def scan(text: str) -> list[Finding]:
    """Secrets in a text, in order, none overlapping another."""
    lowered = text.lower()
    taken: list[Finding] = []
    for rule in RULES:
        if rule.hint not in lowered:
            continue
        group = "secret" if "secret" in rule.pattern.groupindex else 0
        for match in rule.pattern.finditer(text):
            start, end = match.span(group)
            if rule.real(match[group]) and not any(f.start < end and start < f.end for f in taken):
                taken.append(Finding(rule.kind, start, end, text.count("\n", 0, start) + 1))
    return sorted(taken, key=lambda finding: finding.start)


def redact(text: str, offsets: np.ndarray, findings: list[Finding]) -> tuple[str, np.ndarray]:
    """The text with each finding replaced by its kind, and the byte offsets of its characters in the file."""
    pieces: list[str] = []
    kept: list[np.ndarray] = []
    at = 0
    for finding in findings:
        mark = f"[REDACTED {finding.kind}]"
        pieces += [text[at:finding.start], mark]
        kept += [offsets[at:finding.start], np.full(len(mark), offsets[finding.start], offsets.dtype)]
        at = finding.end
    return "".join([*pieces, text[at:]]), np.concatenate([*kept, offsets[at:]])
