"""Files that are to be changed, moved or removed."""

from __future__ import annotations

from bench.agent.checks import document, every, gone, text
from bench.agent.task import Task

GUESTS = "Ann Lee\nBob Stone\nCarla Ruiz\nDmitri Orlov\n"
RECIPES = "Pancakes: flour, eggs, milk\nPorridge: oats, milk\n"

TASKS = (
    Task(
        name="edit-replace",
        kind="edit",
        request="In letter.txt, replace Monday with Tuesday everywhere.",
        files={
            "letter.txt": "Dear Sam,\nsee you on Monday at noon.\nIf Monday is too early, call me.\nYours, Kim\n",
        },
        check=text(
            "letter.txt",
            "Dear Sam,\nsee you on Tuesday at noon.\nIf Tuesday is too early, call me.\nYours, Kim\n",
        ),
        reference="sed -i s/Monday/Tuesday/g letter.txt",
    ),
    Task(
        name="edit-append",
        kind="edit",
        request='Add the line "eggs" at the end of "shopping list.txt".',
        files={"shopping list.txt": "bread\nbutter\napples\n"},
        check=text("shopping list.txt", "bread\nbutter\napples\neggs\n"),
        reference="echo eggs >> 'shopping list.txt'",
    ),
    Task(
        name="edit-json-key",
        kind="edit",
        request="Rename the key colour to color in theme.json.",
        files={"theme.json": '{\n  "name": "dusk",\n  "colour": "violet",\n  "size": 12\n}\n'},
        check=document("theme.json", {"name": "dusk", "color": "violet", "size": 12}),
        reference="sed -i s/colour/color/ theme.json",
    ),
    Task(
        name="edit-json-value",
        kind="edit",
        request="Set timeout to 60 in settings.json.",
        files={"settings.json": '{\n  "host": "localhost",\n  "timeout": 30,\n  "retries": 3\n}\n'},
        check=document("settings.json", {"host": "localhost", "timeout": 60, "retries": 3}),
        reference="""sed -i 's/"timeout": 30/"timeout": 60/' settings.json""",
    ),
    Task(
        name="edit-delete",
        kind="edit",
        request="Delete old.log, and nothing else.",
        files={"old.log": "nothing happened\n", "new.log": "all is well\n"},
        check=every(gone("old.log"), text("new.log", "all is well\n")),
        reference="rm old.log",
    ),
    Task(
        name="edit-move",
        kind="edit",
        request="Move draft.md into the folder archive.",
        files={"draft.md": "# Draft\n\nFirst thoughts.\n", "archive/2024.md": "# 2024\n"},
        check=every(
            gone("draft.md"),
            text("archive/draft.md", "# Draft\n\nFirst thoughts.\n"),
            text("archive/2024.md", "# 2024\n"),
        ),
        reference="mv draft.md archive/",
    ),
    Task(
        name="edit-remove-line",
        kind="edit",
        request="Bob is not coming. Remove his line from guests.txt.",
        files={"guests.txt": GUESTS},
        check=text("guests.txt", GUESTS.replace("Bob Stone\n", "")),
        reference="sed -i /Bob/d guests.txt",
    ),
    Task(
        name="edit-first-line",
        kind="edit",
        request='Put the line "# Recipes" at the top of recipes.md.',
        files={"recipes.md": RECIPES},
        check=text("recipes.md", f"# Recipes\n{RECIPES}"),
        reference="sed -i '1i # Recipes' recipes.md",
    ),
    Task(
        name="edit-section",
        kind="edit",
        request="In conf/app.ini, change the port of the db section to 5433.",
        files={"conf/app.ini": "[web]\nport = 5432\n\n[db]\nname = shop\nport = 5432\n"},
        check=text("conf/app.ini", "[web]\nport = 5432\n\n[db]\nname = shop\nport = 5433\n"),
        reference="sed -i '$s/5432/5433/' conf/app.ini",
    ),
)
