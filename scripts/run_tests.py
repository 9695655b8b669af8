"""Runs every test (native, then through real Envoys) to its end and prints one count of them all."""

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What cargo prints after each test program. The words between are `ok.` or `FAILED.`, coloured or not.
CARGO_RESULT = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed")
# Seconds between asking a step to stop and killing it: an Envoy drains for a moment.
PATIENCE = 20


class Terminated(Exception):
    """Somebody asked this run, but not its steps, to end."""


def terminated(*_):
    raise Terminated


@contextlib.contextmanager
def step(command, **options):
    """Runs a command. Leaving early stops it, kindly at first, so that it can stop what it started."""
    print(f"\n── {' '.join(command)}", flush=True)
    process = subprocess.Popen(command, cwd=ROOT, **options)
    try:
        yield process
        process.wait()
    except KeyboardInterrupt:
        stop(process)  # Ctrl-C reached it from the terminal; a second one would break off its clean-up
        raise
    except BaseException:
        process.send_signal(signal.SIGINT)
        stop(process)
        raise


def stop(process):
    for last_resort in (process.terminate, process.kill):
        try:
            process.wait(PATIENCE)
            return
        except subprocess.TimeoutExpired:
            last_resort()
    process.wait()


def counted(passed, failed, code):
    """A step that fails without naming a test (it did not compile, it died) is one failure."""
    return passed, failed or (1 if code else 0)


def cargo():
    """Unit, golden and documentation tests of the core, without Envoy."""
    passed = failed = 0
    command = ["scripts/cargo", "native", "test", "--locked", "--no-fail-fast"]
    with step(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if result := CARGO_RESULT.match(line):
                passed += int(result[1])
                failed += int(result[2])
    return counted(passed, failed, process.returncode)


def build():
    """The plugin itself; it has no tests of its own, the integration tests are its tests."""
    with step(["scripts/build"]) as process:
        pass
    return counted(0, 0, process.returncode)


def pytest():
    """The plugin inside real Envoys. No test found is a failure too: pytest ends with 5 then."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        with step([sys.executable, "-m", "pytest", "integration", f"--junitxml={report}"]) as process:
            pass
        passed = failed = 0
        if report.exists():
            for case in xml.parse(report).getroot().iter("testcase"):
                outcome = {child.tag for child in case}
                if outcome & {"failure", "error"}:
                    failed += 1
                elif "skipped" not in outcome:
                    passed += 1
        return counted(passed, failed, process.returncode)


def main():
    # Said aloud for SIGINT too: a shell starts background jobs with it ignored, and steps inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminated)
    passed, failed = cargo()
    for rest in (build, pytest):
        more_passed, more_failed = rest()
        passed += more_passed
        failed += more_failed
        if rest is build and more_failed:
            print("The plugin did not build: the integration tests, which run it, were left out.")
            break
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Terminated:
        sys.exit(143)
