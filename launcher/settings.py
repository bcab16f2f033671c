"""The settings of every program, from the models that its code reads: what is handed on, refused and documented."""

import ast
import difflib
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from launcher.errors import LaunchError
from launcher.servers import SERVERS
from launcher.state import REPOSITORY

PROGRAMS = {
    path.parent.name: ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for folder in ("services/*", "devservers/*", "operators")
    for path in sorted(REPOSITORY.glob(f"{folder}/settings.py"))
}
"""The module of each program's settings."""

CHOSEN = {
    "SOUK_HOST": "this machine only",
    "SOUK_PORT": "a free port for each",
    "SOUK_ADMIN_PORT": "8001, or a free port",
    "SOUK_ADMIN_TOKEN": "made at the first start",
    "SOUK_MAIL_SECRET": "made at the first start, and shown in the mailbox's address",
    "SOUK_TLS_PORT": "8443, or a free port",
    "SOUK_SMTP_PORT": "2525, or a free port",
    "SOUK_DATABASE_URL": "one for each service; SOUK_POSTGRES_URL names an external server",
    "SOUK_BROKER_URL": "SOUK_RABBITMQ_URL names an external server",
    "SOUK_SERVICES": "the services' addresses",
    "SOUK_DATA_FOLDERS": "of the servers that it has started",
    "SOUK_KEYS_FILE": "one for each service; see ./souk keys",
    "SOUK_JWT_KEYS": "in the keys file; see ./souk keys",
    "SOUK_API_KEY": "in the keys file",
    "SOUK_API_CALLERS": "in the keys file",
    "SOUK_INTERNAL_CA_FILE": "with SOUK_INTERNAL_TLS",
    "SOUK_INTERNAL_CERTIFICATE_FILE": "with SOUK_INTERNAL_TLS, one for each service",
    "SOUK_INTERNAL_KEY_FILE": "with SOUK_INTERNAL_TLS, one for each service",
    "SOUK_KONG_FILE": "rendered at every start",
    "SOUK_SERVICE": "one for each sidecar",
    "SOUK_INSTANCE": "one for each sidecar",
    "SOUK_INSTANCE_URL": "one for each sidecar",
    "SOUK_PROXY_PORT": "with `./souk up --mesh`, one for each sidecar",
    "SOUK_SESSION_KEYS": "made at the first start",
    "SOUK_ADDRESSES": "of what it has started",
    "SOUK_MAILBOX_URL": "of its mailbox",
    "SOUK_STAFF_EMAIL": "of the account that the first start makes",
    "SOUK_EDGE_CONSOLE": "of its console",
    "SOUK_OPENAPI_URL": "of its gateway",
    "SOUK_VERSION": "this release",
}
"""Settings that `./souk up` chooses, and how: they differ between programs, or have to fit what it starts."""

LAUNCHER = {
    "SOUK_STATE_DIR": "Folder of all data, secrets and logs; `.souk/` by default.",
    "SOUK_JWT_ALGORITHM": "Of the first key that signs access tokens: EdDSA by default, RS256, or HS256, with which every service that "
    "verifies tokens could also sign them. Later: `./souk keys rotate --algorithm`.",
    "SOUK_INTERNAL_TLS": "1: TLS from the gateway, services and sidecars to services, with the installation's own CA in "
    "`.souk/internal/`. `./souk up` renews certificates a year before they expire.",
    "SOUK_BACKUP_DIR": "Folder on another disk that gets PostgreSQL's log while it is written, and the backups of `./souk backup`; or "
    "`s3://bucket/prefix`, with credentials and endpoint in `AWS_...` or `~/.aws`.",
    "SOUK_BACKUP_ALLOW_HTTP": "1: a bucket's server on another machine may be reached without TLS.",
    "SOUK_BACKUP_KEY": "Key of the secrets in backups, as `./souk backup init` printed it; by default the one in the state folder.",
    "SOUK_PYTHON": "Another Python for `.venv`.",
    "SOUK_WITHOUT": "Optional servers that are not started, separated by commas: "
    + ", ".join(sorted(name for name, server in SERVERS.items() if server.without))
    + ".",
    "SOUK_ALERT_WEBHOOK_URL": "Where Alertmanager posts alerts, beside the mails in the mailbox.",
    "SOUK_ALERT_EMAIL": "To whom it mails them.",
    **{server.variable: f"URL of an external {server.title}, which is used instead." for server in SERVERS.values()},
}

TESTS = {
    **{f"SOUK_TEST_{name}_URL": "Set by `./souk test`." for name in ("POSTGRES", "MONGO", "REDIS", "BROKER")},
    "SOUK_TEST_SERVER_LOGS": "Set by `./souk test`.",
    **{
        f"SOUK_TEST_{name}_IMAGE": "Another image for `./souk test --servers=containers` than compose.yaml's."
        for name in ("POSTGRES", "MONGO", "REDIS", "RABBITMQ", "CONSUL", "KONG")
    },
    **dict.fromkeys(
        ("SOUK_TEST_SERVERS", "SOUK_TEST_KONG_URL", "SOUK_TEST_KONG_ADMIN_URL"),
        "Set by `./souk test --servers=containers`.",
    ),
    "SOUK_BENCH_GATEWAY_URL": "Set by `./souk bench`.",
    "SOUK_BENCH_PROGRAMS": "Set by `./souk bench`.",
    "SOUK_BENCH_STATE_DIR": "Set by `./souk bench`.",
    "SOUK_BENCH_DATABASES": "Set by `./souk bench`.",
    "SOUK_SCENARIOS": "How many random sequences of messages `tests/saga` tries.",
    "SOUK_CHAOS_TURN": "A number that selects the sample of crash points.",
}

EVERYWHERE = "chassis.base.settings"

INTRODUCTION = """\
# Settings

Written by `./souk settings > docs/settings.md` from the settings' models; do not edit.

A setting is an environment variable. `./souk up` passes each to the programs that know it, and refuses unknown ones. In place of
some defaults it uses its own servers' addresses and keys that it has generated; those marked *chosen* cannot be set there.
Lists and dictionaries are JSON.
"""


def names(program: str) -> frozenset[str]:
    """Environment variables that the program reads."""
    return frozenset(_variable(field) for model in _models(PROGRAMS[program]) for field in _defaults(model))


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raises LaunchError for a SOUK_ variable that no program reads or that the launcher chooses."""
    known = {*LAUNCHER, *TESTS}.union(*map(names, PROGRAMS))
    given = sorted(name for name in environment if name.startswith("SOUK_"))
    if unknown := [name for name in given if name not in known]:
        guesses = [difflib.get_close_matches(name, known - {*CHOSEN}, 1, 0.8) for name in unknown]
        listed = [
            f"{name} (did you mean {near[0]}?)" if near else name for name, near in zip(unknown, guesses, strict=True)
        ]
        raise LaunchError(f"Unknown settings: {', '.join(listed)}. docs/settings.md lists all.")
    if chosen := [name for name in given if name in CHOSEN and name not in LAUNCHER]:
        listed = [f"{name} ({CHOSEN[name]})" for name in chosen]
        raise LaunchError(f"Settings that ./souk up chooses itself: {', '.join(listed)}. Unset them.")


def reference() -> str:
    """All settings, in Markdown."""
    return INTRODUCTION + "".join(_sections())


# --- inside


def _sections() -> Iterator[str]:
    yield _section("`./souk` itself", LAUNCHER.items())
    yield _table("Every service and the gateway", EVERYWHERE)
    for program, module in sorted(PROGRAMS.items()):
        yield _table(program.capitalize(), module)
    yield _section("Tests and benchmarks", TESTS.items())


def _section(title: str, rows: Any) -> str:
    lines = [f"| `{variable}` | {meaning} |\n" for variable, meaning in rows]
    return f"\n## {title}\n\n| | |\n|---|---|\n{''.join(lines)}"


def _table(title: str, module: str) -> str:
    """What the module's own models add to those of every program."""
    rows: dict[str, str] = {}
    for model in _models(module):
        defaults, docs = _defaults(model), _docstrings(model)
        for field, doc in docs.items():
            name = _variable(field)
            default = f"*chosen: {CHOSEN[name]}*" if name in CHOSEN else _shown(defaults[field])
            rows.setdefault(name, f"| `{name}` | {default} | {doc.replace('|', chr(92) + '|')} |\n")
    text = "".join(rows.values()) or "| | | None of its own. |\n"
    return f"\n## {title}\n\n| | default | |\n|---|---|---|\n{text}"


@cache
def _models(module: str) -> list[Any]:
    """The settings classes that the module defines."""
    classes = vars(importlib.import_module(module)).items()
    return [each for name, each in classes if name.endswith("Settings") and getattr(each, "__module__", "") == module]


def _variable(field: str) -> str:
    return f"SOUK_{field.upper()}"


def _defaults(model: Any) -> dict[str, Any]:
    """Default by field, inherited ones included; Ellipsis for a required one."""
    if hasattr(model, "_fields"):
        return {field: model._field_defaults.get(field, ...) for field in model._fields}
    return {
        field: ... if info.is_required() else info.get_default(call_default_factory=True)
        for field, info in model.model_fields.items()
    }


def _docstrings(model: Any) -> dict[str, str]:
    """By field of the class itself. Raises TypeError for a field without one."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            field = statement.target.id
            if field in _defaults(model):
                found[field] = _string(following) or _complain(model, field)
    return found


def _string(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.split())
    return ""


def _complain(model: Any, field: str) -> str:
    raise TypeError(f"{model.__module__}.{model.__name__}.{field} needs a docstring.")


def _shown(default: Any) -> str:
    if default is ...:
        return "required"
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    if hasattr(default, "model_dump"):
        default = default.model_dump()
    if isinstance(default, tuple | frozenset):
        default = sorted(default) if isinstance(default, frozenset) else list(default)
    if default in ("", None):
        return "empty"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"
