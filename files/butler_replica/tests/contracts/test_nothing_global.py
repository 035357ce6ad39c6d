"""Importing the package changes nothing for the process that imports it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, importlib, json, pkgutil, sys

{others}

import atexit, csv, decimal, faulthandler, locale, logging, os, random, signal, socket, sys, threading, warnings
import sqlalchemy, yaml

def name_of(listener):
    return getattr(listener, "__module__", ""), getattr(listener, "__qualname__", type(listener).__name__)

def listeners():
    # What an engine hears that is not ours.
    engine = sqlalchemy.create_engine("sqlite://")
    return [
        (type(one).__name__, name, [name_of(each) for each in getattr(one.dispatch, name)])
        for one in (engine, engine.pool, engine.dialect)
        for name in sorted(one.dispatch._event_names)
    ]

def loggers():
    known = logging.Logger.manager.loggerDict.items()
    return {
        name: (one.level, list(map(str, one.handlers)), list(map(str, one.filters)), one.propagate, one.disabled)
        for name, one in [("", logging.getLogger()), *known]
        if isinstance(one, logging.Logger) and not name.startswith("butler_replica")
    }

LOOKS = {
    "listeners": listeners,
    "warnings": lambda: (list(map(str, warnings.filters)), warnings.showwarning),
    "loggers": loggers,
    "logging": lambda: (
        logging.getLoggerClass(), logging.root.manager.disable, logging.lastResort.formatter, logging.lastResort.level
    ),
    "signals": lambda: [signal.getsignal(one) for one in signal.valid_signals()],
    "wakeup": lambda: signal.set_wakeup_fd(signal.set_wakeup_fd(-1)),
    "hooks": lambda: (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
    "exit": atexit._ncallbacks,
    "threads": lambda: [one.name for one in threading.enumerate()],
    "environment": lambda: dict(os.environ),
    "place": lambda: (os.getcwd(), os.umask(os.umask(0o22)), sys.path, sys.flags),
    "limits": lambda: (
        sys.getrecursionlimit(), sys.getswitchinterval(), csv.field_size_limit(), socket.getdefaulttimeout()
    ),
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "random": random.getstate,
    "decimal": lambda: str(decimal.getcontext()),
    "faults": faulthandler.is_enabled,
    "YAML": lambda: [
        (one.yaml_constructors, one.yaml_multi_constructors, one.yaml_implicit_resolvers)
        for one in (yaml.SafeLoader, yaml.CSafeLoader, yaml.FullLoader, yaml.Loader)
    ],
}

before = {name: repr(look()) for name, look in LOOKS.items()}
{change}
import butler_replica
for one in pkgutil.walk_packages(butler_replica.__path__, "butler_replica."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
assert "butler_replica.imports.importer" in sys.modules
after = {name: repr(look()) for name, look in LOOKS.items()}
print(json.dumps([name for name in LOOKS if before[name] != after[name]]))
print(json.dumps(sorted(name for name in sys.modules if not name.startswith(("butler_replica", "__m")))))
"""


def changed(others: str = "", change: str = "") -> tuple[str, str]:
    """Return what importing the package changes, and what else is imported with it."""
    script = SCRIPT.replace("{others}", others).replace("{change}", change)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names, modules = done.stdout.splitlines()
    return names, modules


@pytest.fixture(scope="module")
def others() -> str:
    """Import what the package imports that is not its own: libraries may do as they like."""
    known = changed()[1]
    return f"for name in {known}:\n    with contextlib.suppress(ImportError):\n        importlib.import_module(name)"


def test_nothing_is_changed(others: str) -> None:
    assert changed(others)[0] == "[]"


CHANGES = {
    "sqlalchemy.event.listen(sqlalchemy.Engine, 'handle_error', print)": "listeners",
    "warnings.simplefilter('ignore')": "warnings",
    "logging.getLogger('sqlalchemy.pool').setLevel(50)": "loggers",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)": "signals",
    "yaml.SafeLoader.add_constructor('!x', print)": "YAML",
}


def test_a_change_would_be_seen(others: str) -> None:
    assert set(json.loads(changed(others, "\n".join(CHANGES))[0])) == set(CHANGES.values())
