"""What is taken for a credential: by its name, by its look."""

import pytest

from mcp_operator.desktop.credentials import is_credential, is_secretive, looks_secret

SECRETIVE = (
    "API_KEY OPENAI_API_KEY apiKey GITHUB_PERSONAL_ACCESS_TOKEN X-Auth-Token Authorization DB_PASSWORD dbPassword"
    " --client-secret AWS_SECRET_ACCESS_KEY SENTRY_DSN Cookie ADO_PAT SMTP_PWD private_key APIKEY CREDENTIALS"
)
PLAIN = (
    "PORT LOG_LEVEL KEYCLOAK_URL AUTHOR MONKEY TOKENIZER PWD OLDPWD SSH_AUTH_SOCK PATH HOME MODE COMPASS X-Team PASSIVE"
)


@pytest.mark.parametrize("name", SECRETIVE.split())
def test_names_of_credentials(name: str) -> None:
    assert is_secretive(name)
    assert is_credential(name, "plain")


@pytest.mark.parametrize("name", PLAIN.split())
def test_other_names(name: str) -> None:
    assert not is_secretive(name)


def test_a_number_of_tokens_is_none() -> None:
    assert not is_secretive("MAX_TOKENS", "4096")
    assert is_secretive("API_TOKENS", "a,b")


@pytest.mark.parametrize(
    "value",
    [
        "sk-proj-abcdefgh12345678",
        "ghp_abcdefgh12345678",
        "github_pat_11ABCDEFG0abcdef",
        "xoxb-123456789-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "-----BEGIN RSA PRIVATE KEY-----",
        "Bearer abcdefgh12345678",
        '{"Authorization": "Bearer ntn_abcdefgh1234"}',
        "postgresql://user:hunter2@db.example.com/app",
        "Server=db;User=sa;Password=hunter2",
    ],
)
def test_values_that_look_like_credentials(value: str) -> None:
    assert looks_secret(value)
    assert is_credential("VALUE", value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "main",
        "https://example.com/a?b=c",
        "postgresql://db.example.com/app",
        "skip-this-step",
        "a:b@c",
        "basic plan",
    ],
)
def test_other_values(value: str) -> None:
    assert not looks_secret(value)
