import re
from pathlib import Path

from asyncbatch import Launcher
from asyncbatch.main.arguments import _LAUNCHER

PAGE = Path(__file__).parents[3] / "docs" / "launchers.md"


def test_page_and_argument_check_list_all_members() -> None:
    members = {name for name in vars(Launcher) if not name.startswith("_")}
    table = PAGE.read_text().partition("| member |")[2]
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == members
    assert set(_LAUNCHER) == members
