"""What systemd, Docker, Kubernetes and PostgreSQL are to read, on the how-to pages."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import keyturn
from keyturn import Settings
from tests.pages import DOCS, PASSWORD, blocks_of
from tests.postgres import PostgresServer

HOW_TO = DOCS / "how-to"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_the_units_of_the_page_about_systemd_are_units(tmp_path: Path) -> None:
    units = blocks_of(HOW_TO / "systemd.md", "ini")
    for unit in units:
        text = re.sub(r"=/srv/host/venv/bin/\w+", f"={sys.executable}", unit.text)
        (tmp_path / str(unit.title)).write_text(text, "utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, [line for line in done.stderr.splitlines() if "host" in line]) == (
        0,
        [],
    )
    assert len(units) == 3


def test_the_settings_of_systemd_and_of_containers_are_settings() -> None:
    units = "".join(block.text for block in blocks_of(HOW_TO / "systemd.md", "ini"))
    [container] = blocks_of(HOW_TO / "containers.md", "dockerfile")
    [of_container] = re.findall(r"^ENV (.+)", container.text, re.M)

    of_unit = dict(re.findall(r"^Environment=(\w+)=(.+)", units, re.M))
    environ = dict(word.split("=", 1) for word in shlex.split(of_container))

    assert Settings.load(environ=of_unit).path == Path("/var/lib/host")
    assert Settings.load(environ=environ).path == Path("/data")
    assert json.loads(re.findall(r"^CMD (.+)", container.text, re.M)[0])[0] == "gunicorn"


def test_a_pod_as_the_page_has_it_opens_what_kubernetes_mounts(tmp_path: Path) -> None:
    [block] = blocks_of(HOW_TO / "kubernetes.md", "yaml")
    pod = yaml.safe_load(block.text)["spec"]["template"]["spec"]
    [container], [secret, _] = pod["containers"], pod["volumes"]
    environ = {
        each["name"]: each["value"].replace("/etc/keyturn", str(tmp_path / "secret"))
        for each in container["env"]
        if "value" in each
    }
    mounted, kept = tmp_path / "secret", tmp_path / "secret" / "..2026_11_26"
    kept.mkdir(parents=True)
    log = f"sqlite:///{tmp_path}/log.db"
    keyturn.open(path=tmp_path / "new", store=log, password=PASSWORD).close()
    shutil.copy(tmp_path / "new" / "keyring.json", kept)
    (kept / "password").write_text(PASSWORD, "utf-8")
    (mounted / "..data").symlink_to(kept.name)
    for file in ("keyring.json", "password"):
        (kept / file).chmod(secret["secret"]["defaultMode"])
        (mounted / file).symlink_to(f"..data/{file}")

    settings = Settings.load(environ=environ)
    here = {"store": log, "anchor": tmp_path / "anchor" / "anchor.json"}

    assert settings.store is not None
    assert settings.store.startswith("postgresql://keyturn_service@")
    with keyturn.open(settings.replace(here), create=False) as service:
        assert service.verify_token(service.create_token())


def test_the_role_of_the_sql_block_is_enough_for_a_service(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    [block] = blocks_of(HOW_TO / "postgresql.md", "sql")
    schema = postgres.new_schema()
    keyturn.open_event_log(postgres.url_of(schema)).close()
    postgres.sql(f"GRANT USAGE ON SCHEMA {schema} TO public")

    postgres.sql(f"SET search_path = {schema}; {block.text}")

    [role] = re.findall(r"CREATE ROLE (\w+)", block.text)
    url = postgres.url_of(schema, user=role)
    with keyturn.open(path=tmp_path, store=url, password=None) as service:
        token = service.create_token()
        service.reset_key()
        assert not service.verify_token(token)
        assert service.audit().holds


def test_the_store_of_the_ini_block_is_one() -> None:
    [(name, url)] = re.findall(r"(\w+)=(.+)", blocks_of(HOW_TO / "postgresql.md", "ini")[0].text)

    assert Settings.load(environ={name: url}).store == url
