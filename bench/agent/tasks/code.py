"""Small Python programs, to be written or mended; what counts is what they do."""

from __future__ import annotations

from bench.agent.checks import every, gives, lacks, prints
from bench.agent.task import Task

SHAPES = "def calc(width, height):\n    return width * height\n"
FIZZ = ["1", "2", "Fizz", "4", "Buzz", "Fizz", "7", "8", "Fizz", "Buzz", "11", "Fizz", "13", "14", "FizzBuzz"]
PRIMES = ["2", "3", "5", "7", "11", "13", "17", "19", "23", "29"]

TASKS = (
    Task(
        name="code-off-by-one",
        kind="code",
        request="total(n) in sums.py should add the numbers from 1 to n, but it leaves out n. Fix it.",
        files={
            "sums.py": "def total(n):\n    result = 0\n    for number in range(1, n):\n        result += number\n"
            "    return result\n",
        },
        check=gives("sums", ("total(1)", 1), ("total(4)", 10), ("total(100)", 5050)),
        reference="sed -i 's/range(1, n)/range(1, n + 1)/' sums.py",
    ),
    Task(
        name="code-add-function",
        kind="code",
        request="Add a function is_even(n) to numbers_tool.py that tells whether n is even. Keep what is there.",
        files={"numbers_tool.py": "def double(n):\n    return 2 * n\n"},
        check=gives("numbers_tool", ("is_even(4)", True), ("is_even(7)", False), ("double(4)", 8)),
        reference="printf '\\n\\ndef is_even(n):\\n    return n %% 2 == 0\\n' >> numbers_tool.py",
    ),
    Task(
        name="code-primes",
        kind="code",
        request="Write primes.py, a script that prints the first 10 prime numbers.",
        check=prints("primes.py", *PRIMES),
        reference="echo 'print(*(n for n in range(2, 30) if all(n % d for d in range(2, n))))' > primes.py",
    ),
    Task(
        name="code-syntax",
        kind="code",
        request="greet.py does not run because of a syntax error. Fix it.",
        files={"greet.py": "def greet(name)\n    return 'Hello ' + name\n\n\nprint(greet('Ada'))\n"},
        check=prints("greet.py", "Hello", "Ada"),
        reference="sed -i 's/(name)$/(name):/' greet.py",
    ),
    Task(
        name="code-empty-list",
        kind="code",
        request="average in stats.py fails for an empty list. Make it return 0 then.",
        files={"stats.py": "def average(values):\n    return sum(values) / len(values)\n"},
        check=gives("stats", ("float(average([]))", 0.0), ("average([1, 2])", 1.5), ("average([4, 8, 6])", 6.0)),
        reference="sed -i 's/return .*/& if values else 0/' stats.py",
    ),
    Task(
        name="code-fizzbuzz",
        kind="code",
        request="Write fizz.py, which prints the numbers from 1 to 15, one per line, but Fizz for multiples of 3, "
        "Buzz for multiples of 5 and FizzBuzz for multiples of both.",
        check=prints("fizz.py", *FIZZ),
        reference="echo 'for n in range(1, 16):\n"
        '    print("Fizz" * (n % 3 == 0) + "Buzz" * (n % 5 == 0) or n)\' > fizz.py',
    ),
    Task(
        name="code-new-module",
        kind="code",
        request="Write words.py with a function reverse_words(text) that returns the words of text in reverse order.",
        check=gives("words", ("reverse_words('one two three')", "three two one"), ("reverse_words('hello')", "hello")),
        reference="printf 'def reverse_words(text):\\n    return \" \".join(text.split()[::-1])\\n' > words.py",
    ),
    Task(
        name="code-rename",
        kind="code",
        request="Rename the function calc to area, in shapes.py where it is defined and in main.py where it is used.",
        files={"shapes.py": SHAPES, "main.py": "from shapes import calc\n\nprint(calc(3, 4))\n"},
        check=every(
            lacks("shapes.py", "calc"),
            lacks("main.py", "calc"),
            gives("shapes", ("area(2, 5)", 10)),
            prints("main.py", "12"),
        ),
        reference="sed -i 's/calc/area/g' shapes.py main.py",
    ),
)
