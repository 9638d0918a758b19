"""Where things are: the project, the installed clients, the programs under test."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROJECT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")).resolve()
CACHE = TARGET / "clients"
KAFKA_JARS = f"{CACHE}/java/kafka-4.4/*"


def build():
    """Makes `foliod` and `folio`, as the tests of the workspace do: before anything waits for them, for others may build too."""
    if "FOLIO_BIN" not in os.environ:
        subprocess.run(["cargo", "build", "-q", "--locked", "--bin", "foliod", "--bin", "folio"], cwd=PROJECT, check=True)


def program(name):
    """`foliod` or `folio`: what FOLIO_BIN holds, or was built here."""
    given = os.environ.get("FOLIO_BIN")
    return Path(given) / name if given else TARGET / "debug" / name


def java(classpath, memory="256m"):
    """The front of a Java command line, small and quick to start."""
    return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            f"-Dlog4j2.configurationFile={HERE}/java/log4j2.xml", "-cp", classpath]
