"""What `butler_readers` may do in a registry once the role butler_repo has let them in; asked of the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from lsst.daf.butler import Butler, DatasetType

from kit import PROJECT
from kit.playbooks import play, said

pytestmark = pytest.mark.postgres

NOBODY = "no_such_user_of_this_host"
WRITES = [
    "INSERT INTO run SELECT * FROM run",
    "DELETE FROM collection",
    "UPDATE collection SET name = 'x'",
    "CREATE TABLE mine (i int)",
    "CREATE SCHEMA mine",
    "DROP TABLE collection CASCADE",
]


@pytest.fixture
def let_in(make_repository: Callable[..., Any], postgres_server: Any, tmp_path: Path) -> Any:
    """Run the role's tasks for a reader; credentials are given to nobody, since there is no such user."""
    repository = make_repository("postgresql")
    role = f"reader_{repository.name}"
    repository.role_url = postgres_server.url(repository.name, role, "of-the-reader")
    admin = postgres_server.url("postgres", "postgres", postgres_server.admin_password)
    engine = sqlalchemy.create_engine(admin, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-reader'"))
    unchanged = {"changed": False}
    variables = {
        "ansible_python_interpreter": sys.executable,
        "butler_db_host": postgres_server.host,
        "butler_db_login_port": postgres_server.port,
        "butler_db_user": postgres_server.role,
        "butler_db_login_password": postgres_server.password,
        "butler_db_name": repository.name,
        "butler_db_sslmode": "",
        "butler_db_sslrootcert": "",
        "__butler_repo_schema": "public",
        "butler_repo_made_here": True,
        "replica_become": False,
        "__butler_repo_db_url": "postgresql://nowhere/x",
        "__butler_repo_credentials": unchanged,
        "__butler_repo_made": unchanged,
        "__butler_repo_readers": [{"user": NOBODY, "role": role, "password": "of-the-reader"}],
    }
    tasks = [{"ansible.builtin.include_tasks": str(PROJECT / "roles/butler_repo/tasks/readers.yml")}]
    playbook = tmp_path / "readers.yml"
    playbook.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "localhost",
                    "connection": "local",
                    "gather_facts": False,
                    "vars": variables,
                    "tasks": tasks,
                }
            ]
        )
    )
    return repository, lambda: said(
        play(
            tmp_path,
            playbook,
            "-i",
            "localhost,",
            ANSIBLE_LIBRARY=str(PROJECT / "plugins/modules"),
            ANSIBLE_MODULE_UTILS=str(PROJECT / "plugins/module_utils"),
        )
    )


def test_readers_read_and_do_nothing_else(let_in: Any) -> None:
    """Also what the owner makes later; a rerun changes nothing; no password is shown."""
    repository, run = let_in
    first, second = run(), run()
    assert f"butler_readers names {NOBODY}, who is no user of" in first, first
    assert "changed=1" in first, first
    assert "changed=0" in second, second
    assert "of-the-reader" not in first + second
    with Butler.from_config(str(repository), writeable=True) as owner:
        owner.collections.register("a/run")
        owner.registry.registerDatasetType(
            DatasetType("later", ["instrument"], "int", universe=owner.dimensions)
        )
    url = sqlalchemy.make_url(repository.role_url)
    auth = Path(os.environ["LSST_DB_AUTH"])
    auth.write_text(
        yaml.safe_dump(
            [
                {
                    "url": f"postgresql://{url.host}:{url.port}/{url.database}",
                    "username": url.username,
                    "password": url.password,
                }
            ]
        )
    )
    with Butler.from_config(str(repository), writeable=False) as reader:
        assert "a/run" in reader.collections.query("*")
        assert not reader.query_datasets("later", collections="a/run", explain=False)
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="permission denied"):
        Butler.from_config(str(repository), writeable=True)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    for statement in WRITES:
        with (
            engine.connect() as connection,
            pytest.raises(sqlalchemy.exc.DBAPIError, match="permission denied|must be owner"),
        ):
            connection.execute(sqlalchemy.text(statement))
