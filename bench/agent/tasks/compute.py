"""What is to be worked out from a file's content."""

from __future__ import annotations

from bench.agent.checks import answers, document, number, text
from bench.agent.task import Task

MAILS = "zoe@example.org\nann@example.org\nzoe@example.org\nbob@example.org\nann@example.org\ncid@example.org\n"
POEM = "The wind is in the willow tree\nand whispers what it cannot see\na river runs below\n"

TASKS = (
    Task(
        name="compute-sum",
        kind="compute",
        request="What is the sum of the amount column in expenses.csv?",
        files={
            "expenses.csv": "date,item,amount\n2026-01-03,paper,12\n2026-01-05,ink,48\n2026-01-09,chair,135\n"
            "2026-01-12,lamp,40\n2026-01-20,stamps,17\n",
        },
        check=answers("252"),
        reference="echo The sum is 252.",
        asks=True,
    ),
    Task(
        name="compute-average",
        kind="compute",
        request="What is the average of the numbers in temperatures.txt?",
        files={"temperatures.txt": "18\n21\n25\n19\n22\n27\n"},
        check=answers("22", without=("25", "27")),
        reference="awk '{ s += $1 } END { print s / NR }' temperatures.txt",
        asks=True,
    ),
    Task(
        name="compute-sort",
        kind="compute",
        request="Sort the lines of names.txt alphabetically.",
        files={"names.txt": "Nora\nAdam\nZelda\nMiguel\nBeth\nIvan\n"},
        check=text("names.txt", "Adam\nBeth\nIvan\nMiguel\nNora\nZelda\n"),
        reference="sort -o names.txt names.txt",
    ),
    Task(
        name="compute-unique",
        kind="compute",
        request='Remove the duplicate lines from "mail list.txt" and keep the order of the rest.',
        files={"mail list.txt": MAILS},
        check=text("mail list.txt", "\n".join(dict.fromkeys(MAILS.split()))),
        reference="awk '!seen[$0]++' 'mail list.txt' > new; mv new 'mail list.txt'",
    ),
    Task(
        name="compute-json",
        kind="compute",
        request="Convert people.csv to people.json: a list of objects that have the column names as keys.",
        files={"people.csv": "name,city\nAnn,Oslo\nYuki,Kyoto\nJosé,Lima\n"},
        check=document(
            "people.json",
            [{"name": "Ann", "city": "Oslo"}, {"name": "Yuki", "city": "Kyoto"}, {"name": "José", "city": "Lima"}],
        ),
        reference="python3 -c 'import csv, json\n"
        'rows = list(csv.DictReader(open("people.csv", encoding="utf-8")))\n'
        'json.dump(rows, open("people.json", "w"))\'',
    ),
    Task(
        name="compute-words",
        kind="compute",
        request="How many words does poem.txt have?",
        files={"poem.txt": POEM},
        check=answers(str(len(POEM.split())), without=(str(len(POEM)),)),
        reference="wc -w poem.txt",
        asks=True,
    ),
    Task(
        name="compute-dearest",
        kind="compute",
        request="Which product in prices.csv is the most expensive?",
        files={"prices.csv": "product,price\nkettle,34.50\ntoaster,29.00\nmixer,89.90\nblender,64.00\niron,45.25\n"},
        check=answers("mixer", without=("kettle", "toaster", "blender", "iron")),
        reference="echo The mixer, at 89.90.",
        asks=True,
    ),
    Task(
        name="compute-count",
        kind="compute",
        request="Count the lines of story.txt and write the number into count.txt.",
        files={"story.txt": "".join(f"This is sentence {word} of it.\n" for word in "abcdefghijklmn")},
        check=number("count.txt", 14),
        reference="wc -l < story.txt > count.txt",
    ),
    Task(
        name="compute-top",
        kind="compute",
        request="Which address makes the most requests in access.log?",
        files={
            "access.log": "10.0.0.5 GET /\n10.0.0.7 GET /shop\n10.0.0.5 GET /cart\n10.0.0.9 GET /\n"
            "10.0.0.7 GET /cart\n10.0.0.7 POST /pay\n10.0.0.5 GET /help\n10.0.0.7 GET /bye\n",
        },
        check=answers("10.0.0.7", without=("10.0.0.5", "10.0.0.9")),
        reference="cut -d' ' -f1 access.log | sort | uniq -c | sort -rn | head -n 1",
        asks=True,
    ),
)
