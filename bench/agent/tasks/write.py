"""Files and folders that are to be made."""

from __future__ import annotations

from bench.agent.checks import document, every, folder, text
from bench.agent.task import Task

NOTES = "Call the plumber.\nThe tap in the kitchen drips.\n"

TASKS = (
    Task(
        name="write-hello",
        kind="write",
        request="Create a file hello.txt with the text: Hello, world!",
        check=text("hello.txt", "Hello, world!"),
        reference="printf 'Hello, world!' > hello.txt",
    ),
    Task(
        name="write-lines",
        kind="write",
        request="Create colours.txt with three lines: red, green and blue.",
        check=text("colours.txt", "red\ngreen\nblue\n", case=False),
        reference="printf 'red\\ngreen\\nblue\\n' > colours.txt",
    ),
    Task(
        name="write-nested",
        kind="write",
        request='Make a file reports/2026/summary.md whose only line is "# Summary of the year".',
        files={"reports/2025/summary.md": "# Summary\n\nA quiet year.\n"},
        check=text("reports/2026/summary.md", "# Summary of the year\n"),
        reference="mkdir -p reports/2026; echo '# Summary of the year' > reports/2026/summary.md",
    ),
    Task(
        name="write-json",
        kind="write",
        request="Create settings.json, a JSON object in which name is demo, debug is true and port is 9000.",
        check=document("settings.json", {"name": "demo", "debug": True, "port": 9000}),
        reference="""echo '{"name": "demo", "debug": true, "port": 9000}' > settings.json""",
    ),
    Task(
        name="write-space",
        kind="write",
        request='Make a file named "to do.txt" with one line: buy milk',
        check=text("to do.txt", "buy milk", case=False),
        reference="echo buy milk > 'to do.txt'",
    ),
    Task(
        name="write-unicode",
        kind="write",
        request="Write the line Crème brûlée: 7 € into menu.txt.",
        check=text("menu.txt", "Crème brûlée: 7 €"),
        reference="echo 'Crème brûlée: 7 €' > menu.txt",
    ),
    Task(
        name="write-csv",
        kind="write",
        request="Create scores.csv with the columns name and score, and two rows: Ann has 10 and Bo has 12.",
        check=text("scores.csv", "name,score\nAnn,10\nBo,12\n"),
        reference="printf 'name,score\\nAnn,10\\nBo,12\\n' > scores.csv",
    ),
    Task(
        name="write-folders",
        kind="write",
        request="Set up a project: a folder src with an empty main.py in it, and a folder docs with an empty index.md.",
        check=every(folder("src"), folder("docs"), text("src/main.py", ""), text("docs/index.md", "")),
        reference="mkdir src docs; touch src/main.py docs/index.md",
    ),
    Task(
        name="write-copy",
        kind="write",
        request="Copy notes.txt to backup/notes.txt and keep the original.",
        files={"notes.txt": NOTES},
        check=every(text("notes.txt", NOTES), text("backup/notes.txt", NOTES)),
        reference="mkdir backup; cp notes.txt backup/",
    ),
    Task(
        name="write-join",
        kind="write",
        request="Make story.txt out of part1.txt followed by part2.txt.",
        files={
            "part1.txt": "Once upon a time there was a fox.\nIt lived near a lake.\n",
            "part2.txt": "One day the lake froze.\nThe fox learned to skate.\n",
        },
        check=text(
            "story.txt",
            "Once upon a time there was a fox.\nIt lived near a lake.\n"
            "One day the lake froze.\nThe fox learned to skate.\n",
        ),
        reference="cat part1.txt part2.txt > story.txt",
    ),
)
