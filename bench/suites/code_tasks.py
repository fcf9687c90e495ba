"""Small functions: the docstring is the task, the arguments are the tests, the body the proof."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

Task = tuple[int, Callable[..., Any], tuple[tuple[Any, ...], ...]]
TASKS: list[Task] = []


def task(level: int, *calls: tuple[Any, ...]) -> Callable[[Callable[..., Any]], Any]:
    """A function that is asked for, how hard it is, and what it is called with."""

    def add(function: Callable[..., Any]) -> Any:
        TASKS.append((level, function, calls))
        return function

    return add


# Level 1: one expression.
@task(1, (3, 4), (0, 0), (-2, 5))
def add(a, b):
    """Return the sum of a and b."""
    return a + b


@task(1, (4,), (7,), (0,), (-3,))
def is_even(number):
    """Return True if the whole number is even, otherwise False."""
    return number % 2 == 0


@task(1, ("sky",), ("",), ("level",))
def reverse_text(text):
    """Return the text backwards."""
    return text[::-1]


@task(1, ([3, 9, 2],), ([-5, -7],), ([4],))
def largest(numbers):
    """Return the largest number of a list that is not empty."""
    return max(numbers)


@task(1, (0,), (100,), (-40,))
def to_fahrenheit(celsius):
    """Return the temperature in degrees Fahrenheit for one in degrees Celsius."""
    return celsius * 9 / 5 + 32


@task(1, ([1, 2, 3],), ([],), ([5, -5, 2],))
def total(numbers):
    """Return the sum of a list of numbers; 0 for an empty list."""
    return sum(numbers)


@task(1, (3,), (0,), (-4,))
def square(number):
    """Return the number multiplied by itself."""
    return number * number


@task(1, ("cloud",), ("",), ("a b",))
def length(text):
    """Return how many characters the text has."""
    return len(text)


@task(1, ("Hello",), ("ABC",), ("x1Y",))
def lower(text):
    """Return the text in small letters."""
    return text.lower()


@task(1, ([7, 8, 9],), (["a"],))
def first_item(items):
    """Return the first item of a list that is not empty."""
    return items[0]


@task(1, (5, 3), (3, 5), (4, 4))
def absolute_difference(a, b):
    """Return the distance between two numbers, never negative."""
    return abs(a - b)


@task(1, ("a b c",), ("one",), ("two  blanks",))
def count_words(text):
    """Return how many words, which are separated by blanks, the text has."""
    return len(text.split())


# Level 2: one loop or one condition.
@task(2, (5,), (0,), (1,), (10,))
def factorial(number):
    """Return the factorial of a whole number that is not negative; that of 0 is 1."""
    return math.prod(range(1, number + 1))


@task(2, ("banana",), ("sky",), ("AEIOU",), ("",))
def count_vowels(text):
    """Return how many vowels (a, e, i, o, u, large or small) the text has."""
    return sum(letter in "aeiou" for letter in text.lower())


@task(2, ("level",), ("sky",), ("",), ("abca",))
def is_palindrome(text):
    """Return True if the text reads the same backwards, otherwise False."""
    return text == text[::-1]


@task(2, ([1, 2, 3, 4, 5, 6],), ([1, 3],), ([],))
def even_numbers(numbers):
    """Return a list of the even numbers of a list, in their order."""
    return [number for number in numbers if number % 2 == 0]


@task(2, ([2, 4, 9],), ([1],), ([-1, 1],))
def average(numbers):
    """Return the arithmetic mean of a list that is not empty."""
    return sum(numbers) / len(numbers)


@task(2, (3,), (5,), (15,), (7,), (30,))
def fizz_buzz(number):
    """Return "FizzBuzz" for multiples of 15, "Fizz" for other multiples of 3, "Buzz" for other
    multiples of 5, and the number as text for all others."""
    if number % 15 == 0:
        return "FizzBuzz"
    return "Fizz" if number % 3 == 0 else "Buzz" if number % 5 == 0 else str(number)


@task(2, ([3, 1, 3, 2, 1],), ([],), (["b", "a", "b"],))
def unique(items):
    """Return a list of the items without repetitions, each where it came first."""
    return list(dict.fromkeys(items))


@task(2, ([4, 8, 2],), ([5],), ([-1, -1]))
def smallest_index(numbers):
    """Return the index of the smallest number of a list; of several that of the first."""
    return numbers.index(min(numbers))


@task(2, (1234,), (0,), (907,))
def digit_sum(number):
    """Return the sum of the decimal digits of a whole number that is not negative."""
    return sum(int(digit) for digit in str(number))


@task(2, ("hello world",), ("a",), ("",))
def title_words(text):
    """Return the text with the first letter of each word large; words are separated by single
    blanks and have small letters only."""
    return " ".join(word.capitalize() for word in text.split(" "))


@task(2, (2000,), (1900,), (2024,), (2023,))
def is_leap_year(year):
    """Return True if the year of the Gregorian calendar is a leap year, otherwise False."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@task(2, ([1, 2, 3], 2), ([], 4), ([0, -1], 10))
def scaled(numbers, factor):
    """Return a list of all numbers multiplied by the factor."""
    return [number * factor for number in numbers]


# Level 3: two ideas.
@task(3, (2,), (9,), (13,), (1,), (0,), (97,), (91,))
def is_prime(number):
    """Return True if the whole number is a prime number, otherwise False."""
    return number > 1 and all(number % each for each in range(2, math.isqrt(number) + 1))


@task(3, (0,), (1,), (7,), (20,))
def fibonacci(n):
    """Return the n-th Fibonacci number, where number 0 is 0 and number 1 is 1."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@task(3, (48, 36), (7, 3), (10, 5), (0, 4))
def greatest_common_divisor(a, b):
    """Return the greatest common divisor of two whole numbers that are not negative."""
    while b:
        a, b = b, a % b
    return a


@task(3, ("listen", "silent"), ("abc", "abd"), ("aab", "abb"), ("", ""))
def are_anagrams(first, second):
    """Return True if both texts have the same letters equally often, otherwise False."""
    return sorted(first) == sorted(second)


@task(3, ("mississippi",), ("",), ("abc",))
def letter_counts(text):
    """Return a dictionary of how often each character of the text occurs."""
    return dict(Counter(text))


@task(3, ([[1, 2], [3], []],), ([],), ([[4, 5, 6]],))
def flatten(lists):
    """Return one list of the items of all lists, in their order."""
    return [item for each in lists for item in each]


@task(3, ([5, 1, 4, 2],), ([3, 3, 9],), ([2, 1],))
def second_largest(numbers):
    """Return the second largest of the different numbers of a list with at least two of them."""
    return sorted(set(numbers))[-2]


@task(3, ("abc", 1), ("xyz", 3), ("hello", 26))
def shift_letters(text, steps):
    """Return a text of small letters with each moved on by so many steps in the alphabet, going
    on with a after z."""
    return "".join(chr((ord(letter) - 97 + steps) % 26 + 97) for letter in text)


@task(3, (10,), (0,), (255,), (8,))
def to_binary(number):
    """Return a whole number that is not negative in binary as text, without a prefix."""
    return format(number, "b")


@task(3, ([1, 2, 3, 4, 5], 2), ([1], 3), ([], 2))
def chunks(items, size):
    """Return a list of lists with the items in their order, each of the size, the last maybe
    shorter."""
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


@task(3, ({"a": 1, "b": 2},), ({},))
def inverted(mapping):
    """Return a dictionary in which the values of a dictionary lead to its keys."""
    return {value: key for key, value in mapping.items()}


@task(3, ("the quick brown fox",), ("one",), ("aa bb",))
def longest_word(text):
    """Return the longest word of a text of words with blanks between; of several the first."""
    return max(text.split(), key=len)


# Level 4: a loop that keeps something.
@task(4, ("()[]",), ("(]",), ("([{}])",), ("((",), ("",), (")(",))
def is_balanced(text):
    """Return True if all brackets of the text, which are ()[]{}, are closed in the right order."""
    stack = []
    for sign in text:
        if sign in "([{":
            stack.append(sign)
        elif sign in ")]}" and (not stack or "([{".index(stack.pop()) != ")]}".index(sign)):
            return False
    return not stack


@task(4, ("aaabbc",), ("",), ("abc",), ("zzzzzzzzzzzz",))
def run_lengths(text):
    """Return the text with each run of one character as the character and its length, so that
    "aaabbc" becomes "a3b2c1"."""
    parts = []
    for letter in text:
        if parts and parts[-1][0] == letter:
            parts[-1][1] += 1
        else:
            parts.append([letter, 1])
    return "".join(f"{letter}{count}" for letter, count in parts)


@task(4, ([1, 3, 5], [2, 4]), ([], [1]), ([1, 1], [1]), ([], []))
def merge_sorted(first, second):
    """Return one sorted list of the numbers of two sorted lists."""
    return sorted([*first, *second])


@task(4, ([2, 7, 11, 15], 9), ([3, 2, 4], 6), ([1, 2], 8))
def two_sum(numbers, target):
    """Return a list of the two indices, the smaller first, of numbers whose sum is the target, or
    an empty list if there are none. There is at most one such pair."""
    for i, one in enumerate(numbers):
        for j in range(i + 1, len(numbers)):
            if one + numbers[j] == target:
                return [i, j]
    return []


@task(4, ("III",), ("XIV",), ("MCMXC",), ("CDXLIV",))
def roman_to_number(text):
    """Return the whole number that a Roman numeral stands for."""
    values = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
    result = 0
    for here, after in zip(text, text[1:] + " ", strict=True):
        value = values[here]
        result += -value if value < values.get(after, 0) else value
    return result


@task(4, ([-2, 1, -3, 4, -1, 2, 1, -5, 4],), ([-3, -1],), ([5],))
def largest_run_sum(numbers):
    """Return the largest sum of consecutive numbers of a list that is not empty; at least one
    number belongs to it."""
    best = here = numbers[0]
    for number in numbers[1:]:
        here = max(number, here + number)
        best = max(best, here)
    return best


@task(4, ([[1, 2, 3], [4, 5, 6]],), ([[1]],), ([[1], [2]],))
def transposed(matrix):
    """Return a matrix, a list of rows of equal length, with rows and columns exchanged."""
    return [list(column) for column in zip(*matrix, strict=True)]


@task(4, (12,), (13,), (1,), (60,))
def prime_factors(number):
    """Return a sorted list of the prime factors of a whole number from 1 on, each as often as it
    divides it; an empty list for 1."""
    found, each = [], 2
    while number > 1:
        while number % each == 0:
            found.append(each)
            number //= each
        each += 1
    return found


@task(4, ([1, 3, 5, 7], 5), ([1, 3, 5, 7], 4), ([], 1), ([2], 2))
def binary_search(numbers, target):
    """Return the index of the target in a sorted list of different numbers, or -1."""
    return numbers.index(target) if target in numbers else -1


@task(4, ("abcabcbb",), ("bbbb",), ("",), ("pwwkew",))
def longest_distinct(text):
    """Return the length of the longest part of consecutive characters without a repeated one."""
    best, begin, last = 0, 0, {}
    for index, letter in enumerate(text):
        begin = max(begin, last.get(letter, -1) + 1)
        last[letter] = index
        best = max(best, index - begin + 1)
    return best


@task(4, (3661,), (59,), (86399,), (0,))
def clock(seconds):
    """Return seconds since midnight as text of the form HH:MM:SS."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


@task(4, (["eat", "tea", "tan", "ate", "nat", "bat"],), ([],))
def anagram_groups(words):
    """Return how many groups the words form, where anagrams of one another are in one group."""
    return len({"".join(sorted(word)) for word in words})


# Level 5: an algorithm.
@task(5, ("kitten", "sitting"), ("", "abc"), ("same", "same"), ("flaw", "lawn"))
def edit_distance(first, second):
    """Return the least number of insertions, deletions and replacements of one character that make
    the second text of the first."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


@task(5, ([[1, 3], [2, 6], [8, 10]],), ([[1, 4], [4, 5]],), ([],), ([[5, 6], [1, 2]],))
def merge_intervals(intervals):
    """Return a sorted list of the intervals [begin, end] with those that overlap or touch made
    one."""
    found = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([begin, end])
    return found


@task(5, ([1, 2, 5], 11), ([2], 3), ([1], 0), ([3, 7], 13))
def fewest_coins(coins, amount):
    """Return the least number of coins with which the amount can be paid, where each coin may be
    used as often as needed, or -1 if it cannot be paid."""
    best = [0, *([math.inf] * amount)]
    for sum_ in range(1, amount + 1):
        best[sum_] = min(
            (best[sum_ - coin] + 1 for coin in coins if coin <= sum_), default=math.inf
        )
    return -1 if best[amount] == math.inf else int(best[amount])


@task(5, ("abcde", "ace"), ("abc", "xyz"), ("", "a"), ("aggtab", "gxtxayb"))
def longest_common_subsequence(first, second):
    """Return the length of the longest sequence of characters that both texts have in the same
    order, not necessarily next to one another."""
    row = [0] * (len(second) + 1)
    for one in first:
        before = 0
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], before + 1 if one == other else max(row[j], row[j - 1])
    return row[-1]


@task(5, ("3+4*2",), ("10-2-3",), ("2*3*4+1",), ("7",))
def evaluate(expression):
    """Return the value of an expression of whole numbers with +, - and *, where * goes first. Do
    not use eval or exec."""
    result = 0
    for part in expression.replace("-", "+-").split("+"):
        factors = part.split("*")
        sign = -1 if factors[0].startswith("-") else 1
        result += sign * math.prod(int(factor.lstrip("-")) for factor in factors)
    return result


@task(5, ([[1, 1, 0], [0, 0, 1], [1, 0, 1]],), ([[0]],), ([[1, 1], [1, 1]],))
def count_islands(grid):
    """Return how many groups of ones a grid of ones and zeros has, where ones belong together that
    are neighbours to the left, right, above or below."""
    left = {(i, j) for i, row in enumerate(grid) for j, cell in enumerate(row) if cell}
    count = 0
    while left:
        count += 1
        near = [left.pop()]
        while near:
            i, j = near.pop()
            for place in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if place in left:
                    left.remove(place)
                    near.append(place)
    return count


@task(5, (3,), (1,), (4,), (6,))
def queens(n):
    """Return in how many ways n queens can stand on a board of n times n squares so that none
    attacks another."""

    def place(row, columns):
        if row == n:
            return 1
        return sum(
            place(row + 1, [*columns, column])
            for column in range(n)
            if all(column != c and abs(column - c) != row - r for r, c in enumerate(columns))
        )

    return place(0, [])


@task(
    5,
    ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, "a", "d"),
    ({"x": [], "y": []}, "x", "y"),
)
def shortest_path(graph, start, goal):
    """Return how many steps the shortest way from start to goal has in a graph, a dictionary of
    lists of neighbours, or -1 if there is none."""
    steps, here, seen = 0, {start}, {start}
    while here:
        if goal in here:
            return steps
        here = {near for node in here for near in graph[node]} - seen
        seen |= here
        steps += 1
    return -1


@task(5, ("25525511135",), ("0000",), ("1",))
def address_count(digits):
    """Return how many IPv4 addresses can be made of a text of digits by putting three points into
    it: four numbers from 0 to 255 without leading zeros."""

    def ways(rest, parts):
        if not parts:
            return not rest
        return sum(
            ways(rest[size:], parts - 1)
            for size in (1, 2, 3)
            if len(rest) >= size and str(int(rest[:size])) == rest[:size] and int(rest[:size]) < 256
        )

    return int(ways(digits, 4))


@task(5, ([3, 10, 2, 1, 20],), ([3, 2],), ([50, 3, 10, 7, 40, 80],), ([],))
def longest_increasing(numbers):
    """Return the length of the longest strictly increasing sequence of numbers of the list, taken
    in their order but not necessarily next to one another."""
    best = []
    for index, number in enumerate(numbers):
        before = (best[i] for i in range(index) if numbers[i] < number)
        best.append(1 + max(before, default=0))
    return max(best, default=0)


@task(5, (1994,), (4,), (3999,), (40,))
def to_roman(number):
    """Return a whole number from 1 to 3999 as a Roman numeral."""
    signs = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"))
    signs += ((40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
    text = ""
    for value, sign in signs:
        text += sign * (number // value)
        number %= value
    return text


@task(5, ("the cat sat on the mat the end", 2), ("a", 1), ("b a b a c", 2))
def most_common_words(text, count):
    """Return a list of so many of the most frequent words of a text of words with blanks between,
    the most frequent first and equally frequent ones in alphabetical order."""
    counts = Counter(text.split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:count]
