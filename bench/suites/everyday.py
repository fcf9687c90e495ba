"""Everyday tasks in Korean and Chinese: money, times, dates, choices, words, extraction."""

from __future__ import annotations

import random
from typing import Any

from bench.suites.made import Made

SEED = 20_261_122
EACH = 8
SETTINGS = """
format = 1
name = "everyday-ko-zh"
version = "1.1.0"
licence = "CC0-1.0"
language = ["ko", "zh"]
task = "Korean and Chinese everyday tasks: money, times, dates, word meanings, sorting, extraction"

[parameters]
max_tokens = 96
temperature = 0.0
seed = 1
"""
KO_GOODS = (("사과", "개"), ("공책", "권"), ("우유", "병"), ("표", "장"), ("연필", "자루"))
ZH_GOODS = (("苹果", "个"), ("笔记本", "本"), ("牛奶", "瓶"), ("票", "张"), ("铅笔", "支"))
KO_DAYS = ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일")
ZH_DAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
KO_NAMES = ("김민수", "이서연", "박지훈", "최유진", "정하늘", "강도윤")
ZH_NAMES = ("王芳", "李伟", "张敏", "刘洋", "陈静", "赵磊")
# Question, accepted answers or a label among labels, level.
KO_WORDS = (
    ("'크다'의 반대말을 한 단어로 쓰세요.", ["작다"], 1),
    ("'낮'의 반대말을 한 단어로 쓰세요.", ["밤"], 1),
    ("대한민국의 수도는 어디인가요? 도시 이름만 쓰세요.", ["서울", "서울특별시"], 1),
    ("'감사합니다'를 영어로 쓰세요. 두 단어로만 답하세요.", ["thank you"], 1),
    ("'water'를 한국어 한 단어로 번역하세요.", ["물"], 1),
    ("'school'을 한국어 한 단어로 번역하세요.", ["학교"], 2),
    ("일주일은 며칠인가요? 숫자만 쓰세요.", ["7", "7일", "칠", "칠일", "일곱"], 1),
    ("'먹다'의 높임말을 한 단어로 쓰세요.", ["드시다", "잡수시다", "잡수다"], 4),
    ("'나이'의 높임말을 한 단어로 쓰세요.", ["연세", "춘추"], 4),
    ("속담을 완성하는 한 단어를 쓰세요: 가는 말이 고와야 오는 ( )이 곱다.", ["말"], 4),
    ("속담을 완성하는 한 단어를 쓰세요: 원숭이도 ( )에서 떨어진다.", ["나무"], 4),
    ("한글을 만든 조선의 임금은 누구인가요? 이름만 쓰세요.", ["세종", "세종대왕"], 3),
)
ZH_WORDS = (
    ("写出“大”的反义词，只写一个字。", ["小"], 1),
    ("写出“白天”的反义词，只写一个词。", ["黑夜", "夜晚", "晚上", "黑天", "夜", "夜间", "夜里"], 1),
    ("中国的首都是哪里？只写城市名。", ["北京", "北京市"], 1),
    ("把“谢谢”翻译成英语，只写译文。", ["thank you", "thanks"], 1),
    ("把“water”翻译成中文，只写一个字。", ["水"], 1),
    ("把“school”翻译成中文，只写一个词。", ["学校"], 2),
    ("一个星期有几天？只写数字。", ["7", "7天", "七", "七天"], 1),
    ("“爸爸的妈妈”怎么称呼？只写一个词。", ["奶奶", "祖母"], 3),
    ("“妈妈的弟弟”怎么称呼？只写一个词。", ["舅舅", "舅父"], 4),
    ("补全成语，只写缺少的一个字：画蛇添( )。", ["足"], 4),
    ("补全成语，只写缺少的一个字：守株待( )。", ["兔"], 4),
    ("“床前明月光”的作者是谁？只写名字。", ["李白"], 3),
)
KO_MOODS = (
    ("긍정", "음식이 정말 맛있고 직원도 친절했어요.", 1),
    ("부정", "두 시간을 기다렸는데 음식이 다 식어 있었어요.", 1),
    ("긍정", "기대하지 않았는데 또 가고 싶을 만큼 좋았습니다.", 3),
    ("부정", "사진은 예쁜데 실제로 보니 돈이 아깝네요.", 3),
    ("긍정", "흠을 찾으려 했지만 찾지 못했습니다.", 5),
    ("부정", "제일 좋았던 순간은 집에 돌아온 때였습니다.", 5),
)
ZH_MOODS = (
    ("积极", "菜很好吃，服务员也很热情。", 1),
    ("消极", "等了两个小时，菜都凉了。", 1),
    ("积极", "本来没抱希望，结果还想再来一次。", 3),
    ("消极", "照片很漂亮，到了现场才觉得钱白花了。", 3),
    ("积极", "我想挑毛病，可是一个也没挑出来。", 5),
    ("消极", "最开心的时刻是离开那里的时候。", 5),
)


def _numeric(**more: Any) -> list[dict[str, Any]]:
    return [{"kind": "numeric", "tolerance": 0.001, **more}]


def _topic(word: str) -> str:
    """은 after a final consonant, 는 after a vowel."""
    return "은" if (ord(word[-1]) - ord("가")) % 28 else "는"


def _toward(digits: str) -> str:
    """으로 after a digit that is read with a final consonant other than ㄹ: 영, 삼, 육."""
    return "으로" if digits[-1] in "036" else "로"


def _money(r: random.Random) -> list[tuple[str, str, Any, list[dict[str, Any]], int]]:
    count, price, number = r.randint(2, 9), r.randint(3, 28), r.randrange(5)
    goods, unit = KO_GOODS[number]
    ko = (
        f"{goods} 한 {unit}에 {price * 100:,}원입니다. {count}{unit}{_topic(unit)} 얼마인가요? "
        "숫자로 답하세요."
    )
    goods, unit = ZH_GOODS[number]
    zh = f"{goods}每{unit}{price}元，买{count}{unit}一共多少元？用数字回答。"
    return [
        ("ko", ko, count * price * 100, _numeric(), 3),
        ("zh", zh, count * price, _numeric(), 3),
    ]


def _change(r: random.Random) -> list[tuple[str, str, Any, list[dict[str, Any]], int]]:
    one, two = 100 * r.randint(11, 43), 100 * r.randint(11, 43)
    ko = (
        f"{one:,}원짜리 빵과 {two:,}원짜리 음료를 사고 만 원을 냈습니다. 거스름돈은 얼마인가요? "
        "숫자로 답하세요."
    )
    zh = f"面包{one // 100}元，饮料{two // 100}元，付了一百元，应找回多少元？用数字回答。"
    return [
        ("ko", ko, 10_000 - one - two, _numeric(), 4),
        ("zh", zh, 100 - one // 100 - two // 100, _numeric(), 4),
    ]


def _day(r: random.Random) -> list[tuple[str, str, Any, list[dict[str, Any]], int]]:
    today, days = r.randrange(7), r.randint(1, 6)
    then = (today + days) % 7
    labels = [{"kind": "exact", "take": "last_line"}]
    ko = f"오늘은 {KO_DAYS[today]}입니다. {days}일 뒤는 무슨 요일인가요? 요일만 쓰세요."
    zh = f"今天是{ZH_DAYS[today]}，{days}天以后是星期几？只写星期几。"
    ends = ("日", "天") if then == 6 else (ZH_DAYS[then][-1],)
    other = [week + end for week in ("星期", "周", "礼拜") for end in ends]
    return [("ko", ko, [KO_DAYS[then]], labels, 3), ("zh", zh, other, labels, 3)]


def _minutes(r: random.Random) -> list[tuple[str, str, Any, list[dict[str, Any]], int]]:
    hour, minutes, more = r.randint(1, 9), r.randint(0, 5) * 5, r.randint(7, 22) * 5
    ko = f"영화가 {hour}시 {minutes}분에 시작해서 {more}분 뒤에 끝납니다. 몇 시에 끝나나요?"
    zh = f"电影{hour}点{minutes}分开始，{more}分钟以后结束。几点几分结束？"
    end = hour * 60 + minutes + more
    at, rest = end // 60, end % 60
    spoken = {15: "|一刻", 30: "|반|半", 45: "|三刻"}.get(rest, "")
    spelled = rf"(?<!\d){at}\s*(시|:|点|點)\s*" + (
        rf"(0?{rest}(?!\d){spoken})" if rest else r"(?![1-9]|0[1-9]|반|半|一刻|三刻)"
    )
    check = [{"kind": "regex", "pattern": spelled}]
    return [("ko", ko, None, check, 5), ("zh", zh, None, check, 5)]


def _phone(r: random.Random) -> list[tuple[str, str, Any, list[dict[str, Any]], int]]:
    phone = f"02-{r.randint(300, 999)}-{r.randint(1000, 9999)}"
    number, hour = r.randrange(6), r.randint(1, 9)
    ko = (
        f"다음 글에서 전화번호만 쓰세요.\n\n안녕하세요, {KO_NAMES[number]}입니다. "
        f"내일 오후 {hour}시에 뵙겠습니다. 늦으시면 {phone}{_toward(phone)} 전화 주세요."
    )
    evening = "晚上" if hour >= 6 else "下午"
    zh = (
        f"只写出下文中的电话号码。\n\n您好，我是{ZH_NAMES[number]}。明天{evening}{hour}点见，"
        f"如果晚到，请打{phone}。"
    )
    exact = [{"kind": "exact"}]
    return [("ko", ko, [phone], exact, 2), ("zh", zh, [phone], exact, 2)]


TEMPLATES = (
    ("money", _money),
    ("change", _change),
    ("day", _day),
    ("minutes", _minutes),
    ("phone", _phone),
)


def _templated() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    seen: set[str] = set()
    for name, draw in TEMPLATES:
        r, number = random.Random(f"{SEED}-{name}"), 0
        while number < EACH // 2:
            both = draw(r)
            if any(prompt in seen for _, prompt, *_ in both):
                continue
            number += 1
            for language, prompt, expected, checks, level in both:
                seen.add(prompt)
                cluster = f"{name}-{language}"
                case = {"id": f"{cluster}-{number}", "cluster": cluster, "level": level}
                case |= {"prompt": prompt} | ({} if expected is None else {"expected": expected})
                cases.append({**case, "checks": checks})
    return cases


def make() -> Made:
    cases = _templated()
    for language, words in (("ko", KO_WORDS), ("zh", ZH_WORDS)):
        for number, (prompt, expected, level) in enumerate(words, 1):
            case = {"id": f"word-{language}-{number:02d}", "level": level, "prompt": prompt}
            cases.append({**case, "expected": expected, "checks": [{"kind": "exact"}]})
    asks = (
        (
            "ko",
            KO_MOODS,
            ["긍정", "부정"],
            "다음 후기는 긍정인가요, 부정인가요? 한 단어로 답하세요.",
        ),
        ("zh", ZH_MOODS, ["积极", "消极"], "下面的评价是积极还是消极？只用一个词回答。"),
    )
    for language, rows, labels, ask in asks:
        for number, (label, text, level) in enumerate(rows, 1):
            case = {"id": f"mood-{language}-{number}", "level": level, "expected": label}
            case |= {"prompt": f"{ask}\n\n{text}"}
            cases.append({**case, "checks": [{"kind": "label", "labels": labels}]})
    return Made("everyday-ko-zh", SETTINGS, cases)
