"""A question that one file answers."""

from __future__ import annotations

from bench.agent.checks import answers
from bench.agent.task import Task

TASKS = (
    Task(
        name="read-port",
        kind="read",
        request="Which port does the web section of config.ini use?",
        files={
            "config.ini": "[web]\nhost = example.org\nport = 8137\n\n[db]\nhost = db.example.org\nport = 5432\n",
        },
        check=answers("8137", without=("5432",)),
        reference="echo The web section uses port 8137.",
        asks=True,
    ),
    Task(
        name="read-version",
        kind="read",
        request="What is the version of the project in package.json?",
        files={
            "package.json": '{\n  "name": "garden",\n  "version": "2.7.1",\n'
            '  "dependencies": {\n    "shovel": "4.0.3",\n    "rake": "1.9.0"\n  }\n}\n',
        },
        check=answers("2.7.1", without=("4.0.3", "1.9.0")),
        reference="echo v2.7.1",
        asks=True,
    ),
    Task(
        name="read-phone",
        kind="read",
        request='What is the phone number of Maria in "address book.txt"?',
        files={
            "address book.txt": "Ann Lee: 555-0101\nMaria Sanchez: 555-0177\nTom Okafor: 555-0142\n",
        },
        check=answers("555-0177", without=("555-0101", "555-0142")),
        reference="grep Maria 'address book.txt'",
        asks=True,
    ),
    Task(
        name="read-unicode",
        kind="read",
        request="How high is the cupboard (Höhe), according to möbel/maße.txt?",
        files={"möbel/maße.txt": "Schrank\nBreite: 80 cm\nHöhe: 197 cm\nTiefe: 42 cm\n"},
        check=answers("197", without=("80", "42")),
        reference="echo It is 197 cm high.",
        asks=True,
    ),
    Task(
        name="read-error",
        kind="read",
        request="What does the first ERROR line in logs/app.log complain about?",
        files={
            "logs/app.log": "2026-03-01 08:00:01 INFO service started\n"
            "2026-03-01 08:00:09 WARNING cache is cold\n"
            "2026-03-01 08:01:30 ERROR disk full on /data\n"
            "2026-03-01 08:02:11 INFO retrying\n"
            "2026-03-01 08:05:47 ERROR connection refused by mailer\n",
        },
        check=answers("disk full", without=("refused",)),
        reference="grep -m1 ERROR logs/app.log",
        asks=True,
    ),
    Task(
        name="read-city",
        kind="read",
        request="In which city does Tomás live? Look in people.csv.",
        files={
            "people.csv": "name,age,city\nAnn,31,Oslo\nTomás,45,Lisbon\nYuki,28,Kyoto\nPeter,52,Graz\n",
        },
        check=answers("Lisbon", without=("Oslo", "Kyoto", "Graz")),
        reference="echo Tomás lives in Lisbon.",
        asks=True,
    ),
    Task(
        name="read-default",
        kind="read",
        request="What is the default value of timeout in the function connect in net/client.py?",
        files={
            "net/client.py": '"""Talk to the server."""\n\nRETRIES = 7\n\n\n'
            "def connect(host, port=443, timeout=25):\n    return host, port, timeout\n\n\n"
            "def close(wait=90):\n    return wait\n",
        },
        check=answers("25", without=("443", "90", "7")),
        reference="echo 25",
        asks=True,
    ),
    Task(
        name="read-last-line",
        kind="read",
        request="What is the last entry in diary.txt about? Tell me the whole line.",
        files={
            "diary.txt": "Monday: planted tomatoes\nTuesday: rain all day\nWednesday: fixed the old bicycle\n",
        },
        check=answers("fixed the old bicycle", without=("tomatoes", "rain")),
        reference="tail -n 1 diary.txt",
        asks=True,
    ),
)
