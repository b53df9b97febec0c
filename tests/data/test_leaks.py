import itertools
import json
import re

import datasets
import numpy as np
import pyarrow as pa
import pytest

from sentiment_tf.data import leaks, loading, similarity, splitting

SENTENCE = "The plot of this long film never quite comes together , but the cast is a joy to watch ."


def triples(text):
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}


def jaccard(one, other):
    return len(triples(one) & triples(other)) / len(triples(one) | triples(other))


def counts(report):
    return {kind: report["leaked"][kind] for kind in leaks.KINDS}


def same_group(groups, *rows):
    return len({int(groups[row]) for row in rows}) == 1


def test_each_leaked_row_is_counted_once_under_the_first_kind_that_fits():
    near = SENTENCE.replace("watch", "see")
    assert jaccard(SENTENCE, near) == pytest.approx(15 / 17)
    report = leaks.audit(
        {
            "train": ["something else entirely", SENTENCE, "never quite comes together but"],
            "validation": [
                "nothing of that kind was ever said before",
                "  THE plot of this long film never quite comes together , but the cast is a joy to\twatch .",
                near,
                "it never quite comes together , but who would mind",
                "of this long film",
            ],
        },
        "validation",
    )
    assert counts(report) == {"exact": 1, "near": 1, "contained": 1}
    assert report["leaked"]["total"] == 3
    assert report["leaked_rows"] == [1, 2, 3]
    assert report["rows"] == {"train": 3, "validation": 5}
    assert report["between"] == [{"split": "validation", "other": "train", "exact": 1, "near": 1, "contained": 1}]


def test_examples_say_which_rows_are_alike():
    report = leaks.audit({"train": ["x", SENTENCE], "test": ["y", "z", SENTENCE.upper()]}, "test")
    assert report["examples"]["exact"] == [
        {
            "row": 2,
            "text": SENTENCE.upper(),
            "other_split": "train",
            "other_row": 1,
            "other_text": SENTENCE,
        }
    ]


def test_text_that_holds_a_phrase_of_train_leaks_and_so_does_a_phrase_of_its_sentence():
    phrase = "the cast is a joy"
    assert leaks.audit({"train": [phrase], "test": [SENTENCE]}, "test")["leaked"]["contained"] == 1
    assert leaks.audit({"train": [SENTENCE], "test": [phrase]}, "test")["leaked"]["contained"] == 1


def test_four_words_in_common_are_no_leak():
    assert similarity.PHRASE_WORDS == 5
    assert leaks.audit({"train": [SENTENCE], "test": ["cast is a joy"]}, "test")["leaked"]["total"] == 0


def test_report_split_is_held_against_all_others_and_the_others_against_each_other():
    other = "An hour and a half of my life that nobody will ever give back to me"
    splits = {"train": [SENTENCE, other], "validation": [other, "so so"], "test": [SENTENCE, other, "well"]}
    report = leaks.audit(splits, "test")
    assert report["leaked_rows"] == [0, 1]
    assert report["leaked"] == {"exact": 2, "near": 0, "contained": 0, "total": 2}
    between = {(pair["split"], pair["other"]): pair["exact"] for pair in report["between"]}
    assert between == {("test", "train"): 2, ("test", "validation"): 1, ("validation", "train"): 1}


def test_rows_repeated_within_a_split_are_counted():
    report = leaks.audit({"train": ["a b", "A  b", "a b ", "c"], "test": ["d"]}, "test")
    assert report["repeated"] == {"train": 2, "test": 0}


def test_texts_without_words_are_not_alike():
    report = leaks.audit({"train": ["", "!!!", ":-)"], "test": ["?", " ; "]}, "test")
    assert report["leaked"]["total"] == 0
    assert len(set(leaks.groups(["", "!", "?"]))) == 3


def test_report_is_plain_json():
    report = leaks.audit({"train": [SENTENCE, "é " * 400], "test": [SENTENCE, "é " * 400]}, "test")
    assert json.loads(json.dumps(report)) == report
    assert len(report["examples"]["exact"][1]["text"]) == 300


def test_beyond_the_limit_only_exact_duplicates_are_looked_for(monkeypatch):
    monkeypatch.setattr(leaks, "MOST_WORDS", 5)
    report = leaks.audit({"train": [SENTENCE], "test": [SENTENCE, SENTENCE.replace("watch", "see")]}, "test")
    assert report["kinds"] == ["exact"]
    assert report["leaked_rows"] == [0]
    groups = leaks.groups([SENTENCE, SENTENCE.replace("watch", "see"), SENTENCE])
    assert same_group(groups, 0, 2)
    assert not same_group(groups, 0, 1)


def test_single_split_has_nothing_to_be_held_against():
    report = leaks.audit({"train": [SENTENCE, SENTENCE]}, "train")
    assert report["leaked"]["total"] == 0
    assert report["between"] == []
    assert report["repeated"] == {"train": 1}


def test_arrow_and_lists_give_the_same():
    texts = [SENTENCE, "one two three", SENTENCE.lower(), "the cast is a joy"]
    chunked = pa.chunked_array([texts[:1], texts[1:]])
    np.testing.assert_array_equal(leaks.groups(texts), leaks.groups(chunked))
    assert leaks.audit({"a": chunked, "b": texts}, "b") == leaks.audit({"a": texts, "b": texts}, "b")


def test_sentence_and_its_phrases_share_a_group():
    texts = [
        "the cast is a joy to watch",
        "an unrelated remark about the weather in spring",
        SENTENCE,
        "a joy",
        "is a joy to watch",
        SENTENCE.replace("watch", "see"),
        "never quite comes together",
    ]
    groups = leaks.groups(texts)
    assert groups.dtype == np.int64
    assert same_group(groups, 0, 2, 3, 4, 5, 6)
    assert not same_group(groups, 0, 1)


def test_short_phrases_join_one_sentence_but_do_not_link_two():
    one = "it is one of the most tender and surprising comedies made there"
    two = "nobody could call this tedious war epic tender and surprising at any point"
    groups = leaks.groups([one, two, "tender and surprising"])
    assert not same_group(groups, 0, 1)
    assert same_group(groups, 2, 0) or same_group(groups, 2, 1)


def test_long_phrases_link_two_sentences():
    groups = leaks.groups(
        [
            "here is one of the best films of the year",
            "not one of the best films of the decade",
            "one of the best films",
        ]
    )
    assert same_group(groups, 0, 1, 2)


def test_phrase_found_in_many_sentences_is_a_commonplace_and_links_none():
    common = "one of the best films"
    sentences = [f"w{row}a w{row}b {common} w{row}c w{row}d w{row}e w{row}f w{row}g w{row}h" for row in range(20)]
    assert jaccard(*sentences[:2]) < similarity.NEAR
    groups = leaks.groups([*sentences, common])
    assert len(set(groups[:20])) == 20
    assert groups[20] in groups[:20]
    linked = leaks.groups([*sentences[:19], common])
    assert len(set(linked)) == 1


def test_near_and_contained_pairs_agree_with_brute_force():
    random = np.random.default_rng(3)
    texts = []
    for _ in range(60):
        words = random.choice([f"w{number}" for number in range(400)], random.integers(5, 30)).tolist()
        texts.append(" ".join(words))
        changed = [word if random.random() > 0.05 else "new" for word in words]
        texts.append(" ".join(changed))
        texts.append(" ".join(words[1 : max(7, len(words) // 2)]))
    corpus = similarity.prepare(similarity.as_arrow(texts))
    rows = np.arange(len(texts))

    couples = list(itertools.permutations(range(len(texts)), 2))
    enough = [len(text.split()) >= 5 for text in texts]
    near = {
        (one, other)
        for one, other in couples
        if enough[one] and enough[other] and jaccard(texts[one], texts[other]) >= similarity.NEAR
    }
    contained = {
        (one, other)
        for one, other in couples
        if enough[one] and texts[one] != texts[other] and f" {texts[one]} " in f" {texts[other]} "
    }
    assert len(near) > 40
    assert len(contained) > 40
    assert set(map(tuple, similarity.near_pairs(corpus, rows, rows).tolist())) == near
    assert set(map(tuple, similarity.contained_pairs(corpus, rows, rows).tolist())) == contained


def copies_at_the_threshold(count):
    """Returns texts of 12 words, and a copy of each with two other words at the end: 8 of 12 triples are equal."""
    words = [[f"w{row}x{at}" for at in range(12)] for row in range(count)]
    return [" ".join(of_text) for of_text in words], [" ".join([*of_text[:10], "or", "so"]) for of_text in words]


def test_whether_two_texts_are_found_alike_does_not_depend_on_the_others():
    texts, copies = copies_at_the_threshold(2_000)
    assert jaccard(texts[0], copies[0]) == pytest.approx(8 / 12)
    count = len(texts)
    corpus = similarity.prepare(similarity.as_arrow([*texts, *copies]))
    found = similarity.near_pairs(corpus, np.arange(count), np.arange(count, 2 * count))
    assert 0.99 * count <= len(found) <= count

    others = [f"another remark {row} about the weather" for row in range(50)]
    reversed_order = [*others, *copies[::-1], *texts[::-1]]
    corpus = similarity.prepare(similarity.as_arrow(reversed_order))
    copy_rows, text_rows = np.arange(50, 50 + count), np.arange(50 + count, 50 + 2 * count)
    again = similarity.near_pairs(corpus, text_rows, copy_rows)
    named = {(reversed_order[text], reversed_order[copy]) for text, copy in again.tolist()}
    assert named == {(texts[text], copies[copy - count]) for text, copy in found.tolist()}


def test_no_near_duplicate_stands_in_two_splits_that_keep_groups_together():
    texts, copies = copies_at_the_threshold(2_000)
    texts += copies
    groups = leaks.groups(texts)
    labels = np.zeros(len(texts), np.int64)
    split = dict(zip(("train", "validation"), splitting.split_off(labels, groups, fraction=0.3, seed=0), strict=True))
    found = leaks.audit({name: [texts[row] for row in rows] for name, rows in split.items()}, "validation")
    assert found["rows"]["validation"] > 1_000
    assert found["leaked"]["near"] == 0


def test_pairs_are_found_between_the_given_rows_alone():
    texts = [SENTENCE, SENTENCE.replace("watch", "see"), "the cast is a joy", SENTENCE + " again"]
    corpus = similarity.prepare(similarity.as_arrow(texts))
    first, last = np.array([0, 2]), np.array([3])
    assert similarity.near_pairs(corpus, first, last).tolist() == [[0, 3]]
    assert sorted(similarity.contained_pairs(corpus, first, last).tolist()) == [[0, 3], [2, 3]]
    assert similarity.contained_pairs(corpus, last, first).tolist() == []


def test_texts_of_a_data_set_are_never_decoded_row_by_row(monkeypatch):
    texts = [SENTENCE, "one two three", SENTENCE.lower(), "the cast is a joy"]
    rows = datasets.Dataset.from_dict({"text": texts, "label": [0, 1, 0, 1]}).select([2, 0, 3])

    def fail(*_):
        raise AssertionError("rows were read one by one")

    for name in ("__iter__", "__getitem__"):
        monkeypatch.setattr(datasets.arrow_dataset.Column, name, fail)
    monkeypatch.setattr(pa, "array", fail)
    found = leaks.audit({"train": loading.text_array(rows.select([0])), "test": loading.text_array(rows)}, "test")
    assert found["leaked"] == {"exact": 2, "near": 0, "contained": 1, "total": 3}
    assert found["examples"]["contained"][0]["text"] == "the cast is a joy"
    with pytest.raises(AttributeError):
        leaks.audit({"test": rows["text"]}, "test")
