"""Tables of tags as people write them: read in any usual form, or refused with a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from tag2mask.core import UserError
from tag2mask.data.class_names import require_distinct_names, similar_names
from tag2mask.data.tag_table import TableForm, read_tag_table, unused_columns


def read(tmp_path: Path, text: str, **form: object) -> dict[str, tuple[str, ...]]:
    (tmp_path / "t.csv").write_bytes(text.encode())
    return {row.image: row.names for row in read_tag_table(tmp_path / "t.csv", TableForm(**form))}  # type: ignore[arg-type]


TWO = {"a.jpg": ("cat", "dog"), "b.jpg": ("dog",)}
LIGHT = {"a.jpg": ("traffic light", "dog"), "b.jpg": ("dog",)}


@pytest.mark.parametrize(
    "text",
    [
        "image,labels\na.jpg,cat dog\nb.jpg,dog\nc.jpg,cat\n",
        "image,labels\na.jpg,cat,dog\nb.jpg,dog\n",
        'image,labels\na.jpg,"cat,dog"\nb.jpg,dog\n',
        'image,labels\na.jpg, "cat, dog"\nb.jpg,dog\n',
        "image,labels\na.jpg,cat;dog\nb.jpg,dog\n",
        "image,labels\na.jpg,cat|dog|\nb.jpg, dog \n",
        "image,labels\na.jpg,cat\na.jpg,dog\nb.jpg,dog\nb.jpg,dog\n",
        "image;labels\na.jpg;cat,dog\nb.jpg;dog\n",
        "image\tlabels\na.jpg\tcat,dog\nb.jpg\tdog\n",
        "image,cat,dog\na.jpg,1,1\nb.jpg,0,1\n",
        "filename,cat,dog\na.jpg,True,True\nb.jpg,False,True\n",
        "image,label_1,label_2\na.jpg,cat,dog\nb.jpg,dog,\n",
        "image,tags\na.jpg,cat;dog\nb.jpg,dog\n",
        "filename,label\na.jpg,cat;dog\nb.jpg,dog\n",
        "File Name,Class\na.jpg,cat;dog\nb.jpg,dog\n",
        "id,file,class\n1,a.jpg,cat;dog\n2,b.jpg,dog\n",
        "split,tags,image_path\ntrain,cat;dog,a.jpg\nval,dog,b.jpg\n",
        "bild,tier\na.jpg,cat;dog\nb.jpg,dog\n",
        "a.jpg,cat;dog\nb.jpg,dog\n",
        "a.jpg,cat,dog\nb.jpg,dog\n",
        "image,labels\na.jpg,\"['cat', 'dog']\"\nb.jpg,['dog']\n",
        "image,labels\na.jpg,['cat', 'dog']\nb.jpg,['dog']\n",
        'image;labels\na.jpg;["cat", "dog"]\nb.jpg;["dog"]\n',
        "\ufeffimage,labels\r\n\r\na.jpg,cat;dog\r\nb.jpg,dog\r\n",
        "image,labels,,\na.jpg,cat,dog,\nb.jpg,dog,,\n",
        ",image,cat,dog\n0,a.jpg,1,1\n1,b.jpg,0,1\n",
        "Unnamed: 0,image,tags\n0,a.jpg,cat;dog\n1,b.jpg,dog\n",
        '\ufeffImage;Labels\na.jpg;"cat;dog"\nb.jpg;dog\n',
        "image,labels\na.jpg,cat, dog\nb.jpg,dog\n",
        "image,labels,width\na.jpg,cat;dog,640\nb.jpg,dog,480\n",
        "image,labels\na.jpg,\"('cat', 'dog')\"\nb.jpg,\"('dog',)\"\n",
        "image,labels\na.jpg,\"{'cat', 'dog'}\"\nb.jpg,{'dog'}\n",
        "image,cat,dog\na.jpg,Y,Y\nb.jpg,N,Y\n",
        "image,cat,dog\na.jpg,1,1\nb.jpg,-1,1\n",
        "sep=;\r\nimage;labels\r\na.jpg;cat,dog\r\nb.jpg;dog\r\n",
        "image,labels\ra.jpg,cat;dog\rb.jpg,dog\r",
        "image,labels\na.jpg,cat;dog\nb.jpg,dog\n,,\n;;\n\n",
        "image,labels\n\u202aa.jpg,cat;\u200bdog\u00a0\nb.jpg,dog\ufeff\n",
        'image,labels\na.jpg,"cat\ndog"\nb.jpg,dog\n',
    ],
)
def test_any_usual_form_is_read(tmp_path: Path, text: str) -> None:
    rows = read(tmp_path, text)
    assert {name: rows[name] for name in TWO} == TWO


@pytest.mark.parametrize(
    "text",
    [
        "image,labels\na.jpg,traffic light;dog\nb.jpg,dog\n",
        "image,labels\na.jpg,traffic light,dog\nb.jpg,dog\n",
        'image,labels\na.jpg,"traffic light, dog"\nb.jpg,dog\n',
        "image,label\na.jpg,traffic light\na.jpg,dog\nb.jpg,dog\n",
        "image,traffic light,dog\na.jpg,1,1\nb.jpg,0,1\n",
        "image,labels\na.jpg,\"['traffic  light', 'dog']\"\nb.jpg,['dog']\n",
    ],
)
def test_names_with_spaces_survive(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == LIGHT


def test_many_combinations_of_few_words_are_lists(tmp_path: Path) -> None:
    """Chair and sofa never occur alone, as in real tables, but the cells can be nothing but lists."""
    cells = ["cat", "dog", "cow", "cat dog", "cat cow", "cow dog", "cat chair", "dog sofa", "cat dog sofa"]
    rows = read(tmp_path, "image,labels\n" + "".join(f"{n}.jpg,{cell}\n" for n, cell in enumerate(cells)))
    assert rows["6.jpg"] == ("cat", "chair")


def test_combined_names_are_no_lists(tmp_path: Path) -> None:
    cells = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("car", "bus", "van")]
    with pytest.raises(UserError, match="'blue bus', and it is not clear"):
        read(tmp_path, "image,labels\n" + "".join(f"{n}.jpg,{cell}\n" for n, cell in enumerate(cells)))


def test_a_column_of_single_names_keeps_its_spaces(tmp_path: Path) -> None:
    assert read(tmp_path, "filename,label\na.jpg,traffic light\nb.jpg,dog\n")["a.jpg"] == ("traffic light",)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("image,labels\na.jpg,traffic light\nb.jpg,dog\n", ("traffic light", "dog")),
        ("image,labels\na.jpg,traffic light\nb.jpg,dog\n", ("traffic", "light", "dog")),
        ("image,labels\na.jpg,tv/monitor\nb.jpg,tv\n", ("tv/monitor", "tv")),
    ],
)
def test_known_classes_settle_a_doubt(tmp_path: Path, text: str, known: tuple[str, ...]) -> None:
    names = read(tmp_path, text, known=known)["a.jpg"]
    assert " ".join(names) == text.split("\n")[1].split(",")[1] and set(names) <= set(known)


@pytest.mark.parametrize(
    ("separator", "names"),
    [("none", ("traffic light",)), ("space", ("traffic", "light")), ("ff", ("tra", "ic light"))],
)
def test_the_given_separator_is_taken(tmp_path: Path, separator: str, names: tuple[str, ...]) -> None:
    assert read(tmp_path, "image,labels\na.jpg,traffic light\n", separator=separator)["a.jpg"] == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\na.jpg,traffic light\nb.jpg,dog\n", "'traffic light'.*separator: space or .*none"),
        ("image,labels\na.jpg,cat dog\nb.jpg,cat\n", "column 'labels' holds 'cat dog'.*separator: space"),
        ("image,label\na.jpg,cat dog\nb.jpg,cat\nc.jpg,dog\n", "'cat dog'.*separator: space"),
        ('image,labels\na.jpg,"cat;dog,bird"\n', "both ';' and ',' occur"),
        ("image,labels\na.jpg,cat/dog\nb.jpg,dog\n", "'cat/dog'.*'/' may separate"),
        ("image,label\na.jpg,0\nb.jpg,1\n", "holds only 0, 1, which name no class"),
        ("image,label\na.jpg,True\nb.jpg,False\n", "holds only false, true, which name no class"),
        ("image,labels\na.jpg,cat dog\nb.jpg,cat,bird\nc.jpg,dog\n", "'cat dog'.*separator: space"),
        ("image,label,class\na.jpg,x,y\n", "several columns .*'label', 'class'.*tags_column"),
        ("image,colour,shape\na.jpg,red,round\n", "several columns .*'colour', 'shape'.*tags_column"),
        ("colour,shape\nred,round\n", "no column of images .*'colour', 'shape'"),
        ("a,cat\nb,dog\n", "first line are 'a', 'cat'.*must hold headings"),
        ('image,labels\na.jpg,"cat\nb.jpg,dog\nc.jpg,dog\n', "line 2: a quote begins here"),
        ('image,labels\na.jpg,cat\nb,"cat\nc,dog\n', "line 3: a quote begins here"),
        ('image,labels\na.jpg,"cat\nb.jpg,"dog"\nc.jpg,dog\n', "line 2: a quote begins here"),
        ("image\na.jpg\n", "no column of tags"),
        ("image,labels,width\na.jpg,cat,1,2\n", "line 2 has 4 cells but the first line only 3"),
        ("image,labels\na.jpg,cat;dog\na.jpg,bird\n", "line 3: a.jpg is listed twice"),
        ("image,label,split\na.jpg,cat,train\na.jpg,dog,val\n", "line 3: a.jpg is in split 'val' here"),
        ("", "is empty"),
    ],
)
def test_what_is_doubtful_is_asked(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_tags_column_names_the_column(tmp_path: Path) -> None:
    text = "image,colour,shape\na.jpg,red,round\n"
    assert read(tmp_path, text, tags_column="shape") == {"a.jpg": ("round",)}
    assert unused_columns(tmp_path / "t.csv", TableForm(tags_column="shape")) == ("colour",)
    with pytest.raises(UserError, match="unknown column 'shap'; did you mean shape"):
        read(tmp_path, text, tags_column="shap")


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("image\tlabels\ncafé.jpg\ttasse\n".encode("utf-16"))
    assert read_tag_table(path)[0].image == "café.jpg"
    path.write_bytes("image,labels\ncafé.jpg,tasse\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"t\.csv cannot be read as a CSV of tags .*UTF-8"):
        read_tag_table(path)
    path.write_bytes("image,labels\na.jpg,cat\n".encode("utf-16-le"))
    with pytest.raises(UserError, match=r"zero bytes.*UTF-16 without a byte order mark"):
        read_tag_table(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="a spreadsheet or another archive"):
        read_tag_table(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder .*none does not exist: check --data-root"):
        read_tag_table(tmp_path / "none" / "labels.csv")
    with pytest.raises(UserError, match=r"labels\.csv does not exist: write .*tag2mask data import"):
        read_tag_table(tmp_path / "labels.csv")
    (tmp_path / "tags.csv").touch()
    with pytest.raises(UserError, match=r"does not exist, but tags\.csv does: .*--tags .*tags\.csv"):
        read_tag_table(tmp_path / "labels.csv")


def test_splits_in_other_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label,set\na.jpg,x,Training\nb.jpg,x,validation\nc.jpg,x,Fold1\n")
    assert [row.split for row in read_tag_table(tmp_path / "t.csv")] == ["train", "val", "Fold1"]


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("traffic light", "traffic_light"), ("T-Shirt", "tshirt")])
def test_look_alike_names_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"tags '{pair[0]}' and '{pair[1]}', which look like one class"):
        require_distinct_names([*pair, "dog"], "t.csv")


@pytest.mark.parametrize("word", ["background", "None", "nan", "-"])
def test_words_for_no_class_are_refused(word: str) -> None:
    way_out = f"untagged: negative .*--negative '?{word}"  # both ways: the YAML file, and the import
    with pytest.raises(UserError, match=f"tag '{word}', which is no class.*{way_out}"):
        require_distinct_names([word, "dog"], "t.csv")


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("cat", "cats"), True),
        (("person", "persn"), True),
        (("chair", "chiar"), True),
        (("dog", "dgo"), True),
        (("cat", "cow"), False),
        (("now", "own"), False),
        (("sub_class_1", "sub_class_2"), False),
        (("sheep", "ship"), False),
    ],
)
def test_similar_names_are_told(names: tuple[str, str], alike: bool) -> None:
    notes = similar_names({names[0]: 20, names[1]: 1})
    assert bool(notes) is alike
    assert not alike or f"'{names[1]}' (1" in notes[0]
