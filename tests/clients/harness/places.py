"""Where things are: the project, the installed clients, the programs under test."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROJECT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")).resolve()
CACHE = TARGET / "clients"
KAFKA_JARS = f"{CACHE}/java/kafka-4.4/*"

_built = set()


def program(name):
    """`foliod` or `folio`: what FOLIO_BIN holds, or built here, as the tests of the workspace build it."""
    given = os.environ.get("FOLIO_BIN")
    if given:
        return Path(given) / name
    if name not in _built:
        subprocess.run(["cargo", "build", "-q", "--locked", "--bin", name], cwd=PROJECT, check=True)
        _built.add(name)
    return TARGET / "debug" / name


def java(classpath, memory="256m"):
    """The front of a Java command line, small and quick to start."""
    return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            f"-Dlog4j2.configurationFile={HERE}/java/log4j2.xml", "-cp", classpath]
