"""What is to be found among several files or many lines."""

from __future__ import annotations

from bench.agent.checks import answers, lines_in_any_order
from bench.agent.task import Task

TASKS = (
    Task(
        name="search-word",
        kind="search",
        request="Which file in the folder notes mentions the lighthouse?",
        files={
            "notes/monday.txt": "Went to the market.\nBought pears.\n",
            "notes/tuesday.txt": "Walked along the beach.\nThe lighthouse was closed.\n",
            "notes/friday.txt": "Read a book about ships.\n",
        },
        check=answers("tuesday", without=("monday", "friday")),
        reference="grep -l lighthouse notes/*",
        asks=True,
    ),
    Task(
        name="search-largest",
        kind="search",
        request="Which file in the folder data is the largest?",
        files={
            "data/alpha.txt": "one line\n" * 20,
            "data/beta.txt": "one line of text\n" * 60,
            "data/gamma.txt": "one\n" * 30,
        },
        check=answers("beta.txt", without=("alpha.txt", "gamma.txt")),
        reference="ls -S data | head -n 1",
        asks=True,
    ),
    Task(
        name="search-count-files",
        kind="search",
        request="How many .txt files are there here, those in subfolders included?",
        files={
            "readme.txt": "See the folders.\n",
            "a/one.txt": "1\n",
            "a/two.txt": "2\n",
            "a/picture.svg": "<svg/>\n",
            "a/b/three.txt": "3\n",
            "c/four.txt": "4\n",
            "c/table.csv": "x,y\n",
        },
        check=answers("5", without=("3", "6", "7")),
        reference="find . -name '*.txt' | wc -l",
        asks=True,
    ),
    Task(
        name="search-count-lines",
        kind="search",
        request="How many lines of server.log contain ERROR?",
        files={
            "server.log": "".join(
                f"12:{minute:02} {'ERROR' if minute % 5 == 2 else 'INFO'} request {minute * 37 % 100} handled\n"
                for minute in range(34)
            ),
        },
        check=answers("7", without=("27", "34")),
        reference="grep -c ERROR server.log",
        asks=True,
    ),
    Task(
        name="search-todo",
        kind="search",
        request="Write the names of the Python files that contain TODO into todo.txt, one per line.",
        files={
            "cart.py": "# TODO: discounts\ndef total(items):\n    return sum(items)\n",
            "mail.py": "def send(text):\n    return len(text)\n",
            "users.py": "def find(name):\n    return name  # TODO: ask the database\n",
            "notes.md": "- TODO: write docs\n",
        },
        check=lines_in_any_order("todo.txt", "cart.py", "users.py"),
        reference="grep -l TODO *.py > todo.txt",
    ),
    Task(
        name="search-emails",
        kind="search",
        request="Find all e-mail addresses in contact.txt and write them into emails.txt, one per line.",
        files={
            "contact.txt": "Write to info@example.org for questions.\n"
            "Press: Lena Holm (lena.holm@example.com), phone 555-0100.\n"
            "The shop is open 9-17; orders go to shop@example.net.\n",
        },
        check=lines_in_any_order("emails.txt", "info@example.org", "lena.holm@example.com", "shop@example.net"),
        reference="grep -oE '[a-z.]+@[a-z]+[.][a-z]+' contact.txt > emails.txt",
    ),
    Task(
        name="search-function",
        kind="search",
        request="In which file is the function parse_date defined?",
        files={
            "lib/dates.py": "def parse_date(text):\n    return text.split('-')\n",
            "lib/orders.py": "from lib.clock import now\n\n\ndef order(text):\n    return text, now()\n",
            "lib/clock.py": "def now():\n    return '2026-01-01'\n",
            "main.py": "from lib.dates import parse_date\n\nprint(parse_date('2026-01-01'))\n",
        },
        check=answers("dates.py", without=("orders.py", "clock.py", "main.py")),
        reference="grep -rl 'def parse_date' .",
        asks=True,
    ),
    Task(
        name="search-empty",
        kind="search",
        request="One of the files in the folder inbox is empty. Which one?",
        files={
            "inbox/april.txt": "Rent is due.\n",
            "inbox/may.txt": "The parcel has arrived.\n",
            "inbox/june.txt": "",
            "inbox/july.txt": "See you at the lake.\n",
        },
        check=answers("june", without=("april", "may.txt", "july")),
        reference="find inbox -empty",
        asks=True,
    ),
)
