"""A real browser before a real server: only for `make test-ui`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import only_when_named, serving

pytest_ignore_collect = only_when_named(Path(__file__).parent)

# MLflow opens a chat over half of the page on the first visit, and shows language models first.
FIRST_VISIT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the distribution's browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("not run: Chromium is missing (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str):
    """Yield the browser, without a window."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="not run: pip install '.[ui]' brings playwright"
    )
    with sync_api.sync_playwright() as driver:
        # Chromium's sandbox refuses root, who runs tests in a container.
        options = [] if os.geteuid() else ["--no-sandbox"]
        opened = driver.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """Yield a page that has never been to the server."""
    context = browser.new_context(viewport={"width": 1500, "height": 900})
    context.add_init_script(FIRST_VISIT)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def address(
    chromium: str,  # noqa: ARG001  (without a browser no server is started)
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yield the URL of a server on an empty sqlite store."""
    folder = tmp_path_factory.mktemp("ui")
    with serving(folder, f"sqlite:///{folder / 'mlflow.db'}") as started:
        yield started


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where screenshots go: `make test-ui PICTURES=docs/pictures` renews those of docs."""
    return Path(os.environ.get("PICTURES") or tmp_path_factory.mktemp("pictures"))
