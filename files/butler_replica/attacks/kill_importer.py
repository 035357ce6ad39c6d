"""Kill importers at random moments; what is left must be whole, and a rerun must complete it.

python attacks/kill_importer.py 100 --backend postgresql --transfer copy
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path

import click
from lsst.daf.butler import Butler

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from kit.exports import write_raws
from kit.importers import kill_at_random, make_on, write_auth
from kit.repositories import Repository
from kit.servers import temporary_server


@click.command()
@click.argument("count", type=int, default=100)
@click.option("--backend", type=click.Choice(["postgresql", "sqlite"]), default="postgresql")
@click.option("--transfer", type=click.Choice(["symlink", "copy"]), default="symlink")
@click.option("--exposures", default=50, help="A hundred raws each.")
@click.option("--seed", type=int, default=lambda: random.SystemRandom().randrange(10**6))
def main(count: int, backend: str, transfer: str, exposures: int, seed: int) -> None:
    """Kill COUNT importers and check what they leave."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(temporary_server() if backend == "postgresql" else nullcontext())
        os.environ["LSST_DB_AUTH"] = str(write_auth(folder / "db-auth.yaml", server))

        def make() -> Repository:
            root = folder / f"repo{len(list(folder.glob('repo*')))}"
            if server is not None:
                return make_on(server, root, lambda *login: None)
            Butler.makeRepo(root)
            return Repository.on_sqlite(root)

        exports = [
            write_raws(folder / "exports", exposures=exposures),
            write_raws(folder / "exports", exposures=2, first=5000, run="Cam/raw/few"),
        ]
        kill_at_random(make, exports, transfer, count, seed)


if __name__ == "__main__":
    main()
