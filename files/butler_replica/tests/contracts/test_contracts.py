"""One fact, one home: commands, modules, verbs, roles, playbooks and documentation say the same.

Table of contents of the project, too: a verb without a row here fails.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from butler_replica.cli import main
from butler_replica.collections.ensure import ensure_collections, set_chain
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.dimensions.instruments import instrument_named
from butler_replica.dimensions.skymap import register_skymap
from butler_replica.dimensions.visits import define_visits
from butler_replica.holdings.compare import compare
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from butler_replica.imports.several import import_sets
from butler_replica.options import STAGES, Collection, ImportOptions, ImportSet, options_of
from butler_replica.repository.access import ensure_credentials, ensure_index_entry
from butler_replica.repository.making import ensure_repository
from butler_replica.results import Result
from butler_replica.sample import make_sample
from butler_replica.source.export import export
from kit import PROJECT

pytest.importorskip("ansible")

MODULES = PROJECT / "plugins/modules"

VERBS: dict[str, tuple[Callable[..., Any], ...]] = {
    "chain": (set_chain, ensure_collections),
    "compare": (compare,),
    "credentials": (ensure_credentials,),
    "export": (export,),
    "import": (import_sets,),
    "index": (ensure_index_entry,),
    "instrument": (register_instrument,),
    "prune": (prune,),
    "repository": (ensure_repository,),
    "sample": (make_sample,),
    "skymap": (register_skymap,),
    "verify": (verify,),
    "visits": (define_visits,),
}
"""The verbs: their commands, their modules ``butler_...``, and what both call."""

OTHERWISE_NAMED = {
    # Of a module: a user's words for it.
    ("butler_chain", "collections"): "descriptions",
    ("butler_sample", "path"): "directory",
}

OF_THE_COMMAND = {
    *("dry_run", "as_json", "help"),
    *{("instrument", "compare"), ("skymap", "compare"), ("visits", "compare")},
    # What a task has as data, a command reads from a file.
    *{("verify", "exports"), ("verify", "description"), ("import", "exports")},
    *((verb, option.name) for verb in ("verify", "import") for option in options_of(ImportOptions)),
}
"""Options that modules have in another form (check mode, results), or with the import set."""

OF_THE_MODULE = {
    *{("verify", "sets"), ("verify", "collections"), ("import", "sets")},
    # Is asked for.
    ("credentials", "password"),
}

OF_PLAYBOOKS = "variables"
"""Option of a module that its verb knows nothing of: the names of variables of a playbook."""

OF_THE_VERB = {
    # Of datasets that no import set promised; a set says it for itself.
    ("verify", "placeholders"),
    # Commands and modules hand it in.
    ("import", "maker"),
    # There is one sky map, and one dataset type of raws; tests have others.
    *{("skymap", "skymap"), ("visits", "dataset_type")},
}

PAGES = [
    PROJECT / "README.md",
    *(
        path
        for path in sorted((PROJECT / "docs").rglob("*.md"))
        if not {"decisions", "generated"} & {*path.parts}
    ),
]


# What there is


def commands() -> dict[str, click.Command]:
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """Return what ``ansible-doc`` says, which merges the fragments."""
    names = sorted(path.stem for path in MODULES.glob("*.py"))
    told = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "--json", "--type", "module", "-M", str(MODULES), *names],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        check=True,
        capture_output=True,
        text=True,
    )
    return {name: one["doc"]["options"] for name, one in json.loads(told.stdout).items()}


@pytest.fixture(scope="module")
def specified() -> dict[str, Any]:
    """Return the argument specification that each module makes its `AnsibleModule` with."""
    import ansible.module_utils.basic as basic

    class Made(Exception):  # noqa: N818
        pass

    def make(argument_spec: dict[str, Any], **_: Any) -> None:
        raise Made(argument_spec)

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic, "AnsibleModule", make)
        for path in sorted((PROJECT / "plugins/module_utils").glob("*.py")):
            name = f"ansible.module_utils.{path.stem}"
            patch.setitem(sys.modules, name, types.ModuleType(name))
        for name in ("described", "background", "replica"):
            load(f"ansible.module_utils.{name}", PROJECT / f"plugins/module_utils/{name}.py", patch)
        for path in sorted(MODULES.glob("*.py")):
            module = load(f"contract_{path.stem}", path, patch)
            with pytest.raises(Made) as made:
                module.main()
            found[path.stem] = made.value.args[0]
    return found


def load(name: str, path: Path, patch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def facts(options: dict[str, Any], below: str) -> dict[str, Any]:
    """Return what has to agree of options."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "choices": [str(choice) for choice in option["choices"]] if "choices" in option else None,
            "required": bool(option.get("required")),
            "default": option.get("default"),
            "options": facts(option[below], below) if option.get(below) else None,
        }
        for name, option in options.items()
    }


# Verbs, commands, modules


def test_every_verb_has_a_command_a_module_and_a_row_here(documented: dict[str, Any]) -> None:
    assert set(commands()) == set(VERBS)
    assert set(documented) == {f"butler_{verb}" for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_documentation_is_the_argument_specification(
    verb: str, documented: dict[str, Any], specified: dict[str, Any]
) -> None:
    module = f"butler_{verb}"
    assert facts(documented[module], "suboptions") == facts(specified[module], "options")


def parameters(verb: str) -> dict[str, inspect.Parameter]:
    found = {name: one for call in VERBS[verb] for name, one in inspect.signature(call).parameters.items()}
    return {name: one for name, one in found.items() if name not in {"dry_run", "progress"}}


@pytest.mark.parametrize("verb", VERBS)
def test_a_module_has_the_parameters_of_its_verb(verb: str, specified: dict[str, Any]) -> None:
    module = f"butler_{verb}"
    taken = parameters(verb)
    options = {OTHERWISE_NAMED.get((module, name), name): one for name, one in specified[module].items()}
    options.pop(OF_PLAYBOOKS, None)
    assert set(options) == {name for name in taken if (verb, name) not in OF_THE_VERB}
    hints = {name: hint for call in VERBS[verb] for name, hint in typing.get_type_hints(call).items()}
    for name, option in options.items():
        default = taken[name].default
        if default is not inspect.Parameter.empty:
            assert not option.get("required"), name
            assert (option.get("default") or None) == (plain(default) or None), name
        if typing.get_origin(hints[name]) is typing.Literal:
            assert tuple(option["choices"]) == typing.get_args(hints[name]), name


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_returns_a_result(verb: str) -> None:
    for call in VERBS[verb]:
        assert issubclass(typing.get_type_hints(call)["return"], Result)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_has_the_options_of_its_module(verb: str, specified: dict[str, Any]) -> None:
    ours = {one.name: one for one in commands()[verb].params}
    names = {"directory": "path"} if verb == "sample" else {}
    ours = {names.get(name, name): one for name, one in ours.items()}
    theirs = specified[f"butler_{verb}"]
    assert {name for name in ours if not {name, (verb, name)} & OF_THE_COMMAND} == {
        name for name in theirs if name != OF_PLAYBOOKS and (verb, name) not in OF_THE_MODULE
    }
    for name in ours.keys() & theirs.keys():
        if (verb, name) in OF_THE_MODULE:
            continue
        if isinstance(ours[name].type, click.Choice):
            assert list(ours[name].type.choices) == theirs[name]["choices"], name
        default = plain(ours[name].to_info_dict()["default"])
        # The command line has a word for what is not given.
        if name != "tracts" and ours[name].param_type_name == "option":
            assert (default or None) == (theirs[name].get("default") or None), name


def test_import_sets_are_the_same_on_the_command_line_and_in_modules(specified: dict[str, Any]) -> None:
    spec = specified["butler_import"]["sets"]["options"]
    assert set(spec) == {option.name for option in options_of(ImportSet)}
    for verb in ("import", "verify"):
        ours = {one.name: one for one in commands()[verb].params}
        for option in options_of(ImportOptions):
            assert plain(ours[option.name].to_info_dict()["default"] or None) == (
                spec[option.name].get("default") or None
            )


def test_modules_of_long_work_have_their_action() -> None:
    """Those that tell their progress are the ones whose job the action plugin keeps an eye on."""
    long = {path.stem for path in MODULES.glob("*.py") if ", progress\n" in path.read_text()}
    actions = {path.stem: path for path in (PROJECT / "plugins/action").glob("*.py")}
    assert set(actions) == long
    assert len({path.resolve() for path in actions.values()}) == 1


# Roles and playbooks


def role_options(role: str) -> dict[str, Any]:
    specs = yaml.safe_load((PROJECT / f"roles/{role}/meta/argument_specs.yml").read_text())
    return specs["argument_specs"]["main"]["options"]


def test_the_role_takes_what_is_defined(specified: dict[str, Any]) -> None:
    options = role_options("dc2")
    for name, spec in (
        ("dc2_import_sets", specified["butler_import"]["sets"]["options"]),
        ("dc2_collections", specified["butler_chain"]["collections"]["options"]),
    ):
        assert facts(options[name]["options"], "options") == facts(spec, "options")
    assert set(options["dc2_collections"]["options"]) == {option.name for option in options_of(Collection)}


def test_choices_of_the_role_are_those_of_the_instrument_and_the_module(specified: dict[str, Any]) -> None:
    options = role_options("dc2")
    choices = {name: [str(one) for one in option.get("choices", ())] for name, option in options.items()}
    imsim = instrument_named("LSSTCam-imSim")
    assert choices["dc2_filters"] == ["all", *imsim.filter_sets]
    assert choices["dc2_focal_plane"] == list(imsim.focal_plane.field_angle)
    assert choices["dc2_visit_system"] == specified["butler_visits"]["visit_system"]["choices"]


# Words


def test_docstrings_begin_with_plain_words_of_the_field() -> None:
    """Return, check, ensure, register, report: not say, tell, let, have, see to it."""
    begins = re.compile(r"(?:Say|Tell|Let|Have|See to)s? ")
    paths = [*PACKAGE.rglob("*.py"), *(PROJECT / "plugins").rglob("*.py")]
    found = {
        f"{path.relative_to(PROJECT)}: {getattr(one, 'name', '')}"
        for path in paths
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.FunctionDef | ast.ClassDef | ast.Module)
        and begins.match(ast.get_docstring(one) or "")
    }
    assert found == set()


# The package knows no playbook


PACKAGE = PROJECT / "files/butler_replica/src/butler_replica"

SHARED_NAMES = {
    # An argument of a verb.
    "confirm_destroy",
    # Keys of the file that describes what is replicated.
    *("dc2_import_sets", "dc2_collections"),
}


def public_variables() -> set[str]:
    """Return the variables that users set."""
    found: set[str] = set()
    for path in PROJECT.glob("group_vars/dc2_replica/*.yml"):
        found |= set(yaml.safe_load(path.read_text()))
    return found


def role_variables() -> set[str]:
    found: set[str] = set()
    for path in PROJECT.glob("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text())["argument_specs"]
        found |= {name for one in specs.values() for name in one.get("options", ())}
    return found


def test_the_package_names_no_role_and_no_variable_of_ansible() -> None:
    roles = {path.name for path in (PROJECT / "roles").iterdir()}
    names = {name for name in roles if "_" in name} | public_variables() | role_variables()
    named = re.compile(
        rf"(?<!\w)(?:{'|'.join(sorted(names - SHARED_NAMES))})(?!\w)"
        rf"|\broles? `*(?:{'|'.join(sorted(roles))})\b|\b(?:{'|'.join(sorted(roles))})`* role\b"
    )
    assert len(names) > 60
    assert named.search("the role `butler_repo`")
    assert named.search("dc2_prune_gone: none")
    said = {
        f"{path.relative_to(PACKAGE)}:{one.lineno}": named.findall(one.value)
        for path in PACKAGE.rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }
    assert {place: found for place, found in said.items() if found} == {}


def test_errors_are_about_arguments_of_verbs() -> None:
    taken = {name for verb in VERBS for name in parameters(verb)}
    about = {
        name.value
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "").endswith("Error")
        for given in call.keywords
        if given.arg == "arguments"
        for name in ast.walk(given.value)
        if isinstance(name, ast.Constant)
    }
    assert "config.registry.db" in about
    assert {name.partition(".")[0] for name in about} <= taken


def test_tasks_name_the_variables_that_set_what_they_give(specified: dict[str, Any]) -> None:
    modules = {name for name, options in specified.items() if OF_PLAYBOOKS in options}
    checked = set()
    for path in PROJECT.glob("roles/*/tasks/*.yml"):
        for task in all_tasks(yaml.safe_load(path.read_text())):
            for module in modules & task.keys():
                given = task[module]
                variables = given[OF_PLAYBOOKS]
                if isinstance(variables, str):
                    in_vars = yaml.safe_load((path.parents[1] / "vars/main.yml").read_text())
                    variables = in_vars[variables.strip("{ }")]
                # A role may have one list for all of its modules.
                options = set(specified["butler_repository"]) | set(specified[module])
                assert {name.partition(".")[0] for name in variables} <= options
                assert set(variables.values()) <= public_variables()
                for name in set(variables) & set(given):
                    assert given[name] == f"{{{{ {variables[name]} }}}}", name
                checked.add(module)
    assert checked == modules


def all_tasks(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from all_tasks(task.get(part, []))


NO_FIELD_ENGLISH = re.compile(r"(Say|Tell|Let|Have|Look|See|Ask|Keep|Give|Come|Hand|Bring|Point|Try|Lock)\b")


def test_tasks_are_named_in_plain_field_english() -> None:
    tasks = [
        *((path, one) for path in PROJECT.glob("roles/*/tasks/*.yml") for one in all_tasks(loaded(path))),
        *(
            (path, one)
            for path in [*PROJECT.glob("playbooks/*.yml"), PROJECT / "site.yml"]
            for one in all_plays(path)
        ),
    ]
    assert len(tasks) > 150
    named = sorted((path.name, task.get("name", "")) for path, task in tasks)
    assert [one for one in named if not one[1] or NO_FIELD_ENGLISH.match(one[1])] == []


def loaded(path: Path) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return tasks


def all_plays(path: Path) -> Iterator[dict[str, Any]]:
    for play in loaded(path):
        yield play
        yield from all_tasks(play.get("tasks", []))


# Stages


def tagged(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for each in (task, *task.get("block", ())):
            yield from [each["tags"]] if isinstance(each.get("tags"), str) else ()


LAST = ("chains", "prune")
"""What comes behind the stages that import something."""


def test_tags_are_the_stages() -> None:
    tasks = yaml.safe_load((PROJECT / "roles/dc2/tasks/main.yml").read_text())
    assert tuple(tagged(tasks)) == (*STAGES, *LAST)
    # What all stages need runs under all of them.
    assert tuple(tasks[0]["tags"]) == (*STAGES, *LAST)
    default = next(option.default for option in options_of(ImportSet) if option.name == "stage")
    handled = yaml.safe_load((PROJECT / "roles/dc2/vars/main.yml").read_text())
    assert f"{{'stage': '{default}'}}" in handled["__dc2_stage_sets"]


def test_a_set_without_a_stage_has_that_of_the_definition() -> None:
    sets = [{"name": "one"}, {"name": "two", "stage": "raw"}]
    given = {"dc2_import_sets": sets, "__dc2_stage": "products"}
    told = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "ansible",
                "adhoc",
                "localhost",
                "-i",
                "localhost,",
                "-c",
                "local",
                "-m",
                "debug",
            ),
            *("-a", "var=__dc2_stage_sets", "-e", json.dumps(given)),
            *("-e", f"@{PROJECT}/roles/dc2/vars/main.yml"),
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (value,) = json.loads(told[told.index("{") :]).values()
    assert value == [{"name": "one", "stage": "products"}]


def test_the_table_of_stages_has_all_of_them_in_their_order() -> None:
    plays = [
        Path(play["ansible.builtin.import_playbook"]).stem
        for play in yaml.safe_load((PROJECT / "site.yml").read_text())
    ]
    of_datasets = plays.index("datasets")
    wanted = [*plays[:of_datasets], *STAGES, *LAST, *plays[of_datasets + 1 :]]
    tables = [
        re.split(r"\n(?!\|)", rest)[0] for page in PAGES for rest in page.read_text().split("\n| tag |")[1:]
    ]
    assert [re.findall(r"`([a-z]+)`", "".join(re.findall(r"(?m)^\|([^|]*)", one))) for one in tables] == [
        wanted
    ]


def variables() -> set[str]:
    files = [*PROJECT.glob("group_vars/**/*.yml"), *PROJECT.glob("roles/*/defaults/main.yml")]
    return {name for path in files for name in yaml.safe_load(path.read_text()) or ()}


def renamed() -> list[dict[str, str]]:
    table = yaml.safe_load((PROJECT / "roles/preflight/vars/main/renamed.yml").read_text())
    rows: list[dict[str, str]] = table["__preflight_renamed"]
    return rows


def test_a_variable_with_another_name_now_has_one_that_is_there() -> None:
    rows = renamed()
    assert {row["new"] for row in rows} <= variables()
    old = [row["old"] for row in rows]
    assert not {*old} & variables()
    assert len(old) == len({*old})


def test_preflight_knows_the_specification_of_every_role() -> None:
    described = yaml.safe_load((PROJECT / "roles/preflight/vars/main/described.yml").read_text())
    specs = PROJECT.glob("roles/*/meta/argument_specs.yml")
    assert described["__preflight_roles"] == sorted(path.parents[1].name for path in specs)


# Documentation


def test_documentation_names_no_variable_that_is_not_there() -> None:
    known = {"butler_db_found", "lsst_stack_ready", "lsst_stack_lacks", "dc2_replica"}
    for pattern in ("group_vars/**/*.yml", "roles/*/defaults/main.yml", "roles/*/vars/main.yml"):
        for path in PROJECT.glob(pattern):
            known |= set(yaml.safe_load(path.read_text()) or ())
    known |= {path.name for path in (PROJECT / "roles").iterdir()}
    prefix = "butler_db|butler_repo|dc2|lsst_stack|preflight|replica"
    variable = re.compile(rf"`((?:{prefix})_[a-z_]+|butler_readers|confirm_[a-z]+)[`:]")
    named = {name: page for page in PAGES for name in variable.findall(page.read_text())}
    assert {name: page for name, page in named.items() if name not in known and not name.endswith("_")} == {}
    # A module of the package is called as a variable was.
    old = {row["old"] for row in renamed()} - {path.stem for path in PACKAGE.rglob("*.py")}
    gone = re.compile(rf"`(?:{'|'.join(sorted(old))})`")
    assert [page for page in PAGES if gone.search(page.read_text())] == []


def test_documentation_names_no_command_and_no_module_that_is_not_there() -> None:
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"(?:bin/|`)butler-replica ([a-z]+)", text)) <= set(VERBS), page
        modules = set(re.findall(r"`(butler_[a-z]+)`", text)) - {
            "butler_replica",
            "butler_db",
            "butler_repo",
            "butler_readers",
        }
        assert modules <= {f"butler_{verb}" for verb in VERBS}, page


def test_variables_for_users_are_described() -> None:
    """By a comment above, which the reference shows, or by name on a page."""
    pages = "".join(page.read_text() for page in PAGES)
    for name in ("replica", "dc2"):
        commented = False
        for line in (PROJECT / f"group_vars/dc2_replica/{name}.yml").read_text().splitlines():
            commented = bool(line.strip()) and (commented or line.startswith("#"))
            found = re.match(r"([a-z][a-z0-9_]*):", line)
            assert found is None or commented or f"`{found[1]}`" in pages, found[1]


# The range of lsst-daf-butler


def requirement(name: str, lines: list[str]) -> str:
    (found,) = [line for line in lines if re.match(rf"{name}\b", line)]
    return found


def test_the_range_of_the_butler_is_that_of_the_package() -> None:
    package = tomllib.loads((PROJECT / "files/butler_replica/pyproject.toml").read_text())["project"]
    role = yaml.safe_load((PROJECT / "roles/lsst_stack/defaults/main.yml").read_text())["lsst_stack_packages"]
    wanted = requirement("lsst-daf-butler", package["dependencies"])
    assert requirement("lsst-daf-butler", role) == wanted
    postgres = requirement("psycopg2-binary", package["optional-dependencies"]["postgres"])
    assert requirement("psycopg2-binary", role) == postgres
    for page in PAGES:
        assert set(re.findall(r"lsst-daf-butler[>=~][^'\"`\s]*", page.read_text())) <= {wanted}, page
    allowed = wanted.removeprefix("lsst-daf-butler")
    from packaging.specifiers import SpecifierSet

    oldest = (PROJECT / "requirements/floor.txt").read_text()
    tested = (PROJECT / "requirements/constraints.txt").read_text()
    for text in (oldest, tested):
        (version,) = re.findall(r"(?m)^lsst-daf-butler==(\S+)$", text)
        assert version in SpecifierSet(allowed)
    assert re.search(r"(?m)^lsst-daf-butler==(\d+)", oldest)[1] == re.search(r">=(\d+)", allowed)[1]
