"""Photos in the forms that phones, cameras and browsers leave."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.core import UserError
from tag2mask.data import images
from tag2mask.data.images import check_image, read_rgb, read_size

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0005VZDn*}000000000XXk=`10000000000aA{+700000000000000000000"
    "G-+&aV*mgE07O6l0ssL300001>;M4(00000001KZ0ssI200IvH0RR9100000Bme*aIB98aW&i*H00062000$fZf0cy00000"
    "0RRAKc4ILB0000LX>Mj^0ssI300IC2MR;ju000004sdC7Z2$lO00031009SSaB^?}008D`aAR)(004Gqc4I>U18@KU0FVFx"
    "0000U@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ!0009300RIXx&lC90096hLID8-Z~y=U0FVFx0{{R603M(qfd!W8<fgf}"
    "2xu@M00096AOHXZ03l)k0RRR>0l{;?i2wiq6Ju{|a&BX6cmM$a4FCp!0000KX>)L8000000000$0000$0000eV{Bn?0000$"
    "000010000W000010000000002|NsBs000020000GaA|mH000000|*ER00009X>xCL0{{R38EJ5BVE_OC000000RRC8fdT^s"
    "goXeB02*m>Wo7^X0000001jhhb7KGk009620000_ZDe6|0000VC;_hvVD;sLumAWJb-rGx`ix~%yYYAUKb!B6B7Haj000I>"
    "cxh$;08LE*DgXcg2mk>A5&#1L000311^@s60000"
)
"""64 x 32 pixels, the left half blue and the right half red, to be turned to the right by its EXIF data."""


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif", "xmp.jpg"])
def test_the_size_is_that_of_the_upright_photo(name: str, tmp_path: Path) -> None:
    scene = Image.new("RGB", (48, 32), "red")
    scene.paste("blue", (0, 0, 24, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"xmp": XMP} if name == "xmp.jpg" else {"exif": exif}
    scene.save(tmp_path / name, **more)
    assert read_size(tmp_path / name) == read_rgb(tmp_path / name).shape[:2] == (48, 32)
    assert read_rgb(tmp_path / name)[4, 16, 2] > 200  # what was on the left is at the top


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif"])
def test_of_several_pictures_the_first_counts(name: str, tmp_path: Path) -> None:
    first = Image.new("RGB", (9, 6), "red")
    first.save(tmp_path / name, save_all=True, append_images=[Image.new("RGB", (9, 6), "blue")])
    pixels = read_rgb(tmp_path / name)
    assert pixels.shape == (6, 9, 3) and np.all(pixels[..., 0] > 200) and np.all(pixels[..., 2] < 60)


def test_photos_of_phones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "IMG_1.HEIC"
    photo.write_bytes(HEIC)
    pixels = read_rgb(photo)
    assert check_image(photo) == pixels.shape[:2] == (64, 32)
    assert pixels[8, 16].argmax() == 2 and pixels[-8, 16].argmax() == 0
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    images._reads_heic.cache_clear()
    try:
        with pytest.raises(UserError, match=r"IMG_1.HEIC is a HEIC image: pip install 'tag2mask\[heic\]'"):
            check_image(photo)
    finally:
        images._reads_heic.cache_clear()
