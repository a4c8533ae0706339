"""Pictures cut into tiles: each coded on its own, no seams, regions, what is left of a stream."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from places import ASSETS, RECIPES

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding import encoder, memory_limit, tiling
from promptcodec.coding.decoder import TileDecoder
from promptcodec.coding.tiling import BAND, Box, Tiling
from promptcodec.config import DEFAULT_HALO
from promptcodec.errors import PictureError, RateError, StreamError, UsageError
from promptcodec.training.config import BaseTrainingConfig, read_recipe

HALO = DEFAULT_HALO
SMALL = read_recipe(RECIPES / "base" / "base-small.yaml", BaseTrainingConfig).codec
SIZE = (300, 210)  # 3 x 2 tiles of 128 px, those at the right and below smaller


def photo(width: int, height: int, *, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(2).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    picture = Image.fromarray(noise, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    return picture.convert(mode)


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder)


@pytest.fixture(scope="module")
def stream(codec: Codec) -> bytes:
    return codec.encode(photo(*SIZE), tile_size=128)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(np.int16)


class TestGeometry:
    @pytest.mark.parametrize("size", [0, 64, 128, 4096])
    @pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 65), (300, 210), (129, 640)])
    def test_tiles_partition_the_padded_picture(self, width, height, size):
        tiles = Tiling(width, height, size, HALO)
        whole = tiles.whole
        counts = np.zeros((whole.height, whole.width), int)
        for number in range(len(tiles)):
            box = tiles.tile(number)
            assert box.top % 64 == box.left % 64 == box.height % 64 == box.width % 64 == 0
            counts[box.slices(whole)] += 1
            window = tiles.window(box)
            assert box.within(window) == box and window.within(whole) == window
            bands = list(tiles.bands(number))
            assert (bands[0].top, bands[-1].bottom) == (box.top, box.bottom)
            assert all(a.bottom == b.top for a, b in pairwise(bands))
            assert all((band.left, band.right) == (box.left, box.right) for band in bands)
            assert len(tiles) == 1 or all(0 < band.height <= BAND for band in bands)
            assert set(tiles.touching(box)) == {number}
        assert (counts == 1).all()
        assert list(tiles.touching(whole)) == list(range(len(tiles)))

    def test_a_window_is_the_band_and_its_halo(self):
        tiles = Tiling(3000, 3000, 1024, HALO)
        _, second = tiles.bands(4)
        assert second == Box(1024 + BAND, 1024, 2048, 2048)
        assert tiles.window(second) == Box(
            1024 + BAND - HALO, 1024 - HALO, 2048 + HALO, 2048 + HALO
        )
        assert list(Tiling(3000, 3000, 0, HALO).bands(0)) == [Tiling(3000, 3000, 0, HALO).whole]


class TestEncoding:
    def test_small_pictures_are_one_tile(self, codec, monkeypatch):
        data = codec.encode(photo(90, 70))
        assert bitstream.parse_header(data).tile_size == 0
        for size in (0, 128, 640):
            assert codec.encode(photo(90, 70), tile_size=size) == data
        monkeypatch.setattr(encoder, "ONE_TILE_PIXELS", 90 * 70)
        monkeypatch.setattr(encoder, "TILE_SIZE", 64)
        assert codec.encode(photo(90, 70)) == data

    def test_large_pictures_are_cut_by_default(self, codec, monkeypatch):
        monkeypatch.setattr(encoder, "ONE_TILE_PIXELS", 90 * 70 - 1)
        monkeypatch.setattr(encoder, "TILE_SIZE", 64)
        assert bitstream.parse_header(codec.encode(photo(90, 70))).tile_grid == (2, 2)
        assert bitstream.parse_header(codec.encode(photo(90, 70), effort=1)).tile_size == 0

    def test_header_names_the_tiles(self, stream):
        header = bitstream.parse_header(stream)
        assert (header.tile_size, header.tile_grid) == (128, (2, 3))
        assert all(tile.y_bytes for tile in header.tiles)

    def test_a_tile_is_coded_without_its_neighbours(self, codec, stream):
        """Each tile's payload alone, as a picture of its size, gives the same symbols."""
        container = bitstream.parse(stream)
        whole = codec.decode_latents(stream)
        cut = Tiling(*SIZE, 128, HALO)
        for number, tile in enumerate(container.tiles):
            box = cut.tile(number)
            alone = replace(
                container, width=box.width, height=box.height, tile_size=0, tiles=(tile,)
            )
            found = codec.decode_latents(bitstream.pack(alone))
            rows, columns = box.slices(cut.whole, stride=16)
            assert np.array_equal(found.symbols, whole.symbols[:, :, rows, columns])
            assert np.array_equal(found.y_hat, whole.y_hat[:, :, rows, columns])

    @pytest.mark.parametrize("size", [-64, 1, 100])
    def test_sizes_that_cannot_be(self, codec, size):
        with pytest.raises(UsageError, match="need a multiple of 64"):
            codec.encode(photo(90, 70), tile_size=size)

    def test_too_many_tiles(self, codec):
        strip = Image.new("L", (64 * 65_537, 1))
        with pytest.raises(UsageError, match="65537 tiles"):
            codec.encode(strip, tile_size=64, max_pixels=2**40)

    def test_an_effort_needs_one_tile(self, codec):
        with pytest.raises(UsageError, match="leave one of them out"):
            codec.encode(photo(*SIZE), tile_size=128, effort=1)

    def test_targets(self, codec):
        low, high = (
            len(codec.encode(photo(*SIZE), tile_size=128, rate_index=rate)) for rate in (2, 6)
        )
        wanted = (low + high) // 2
        data = codec.encode(photo(*SIZE), tile_size=128, target_bytes=wanted)
        assert abs(len(data) - wanted) <= 0.01 * wanted
        assert bitstream.parse_header(data).tile_size == 128
        with pytest.raises(RateError, match=r"cannot be reached.*flat saturated colour and sharp"):
            codec.encode(photo(*SIZE), tile_size=128, target_psnr=90.0, graphics="never")

    @pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
    def test_psnr_of_a_candidate_is_that_of_the_decoder(self, codec, mode):
        from promptcodec.coding.distortion import squared_error
        from promptcodec.io.load import load_picture

        picture = load_picture(photo(*SIZE, mode=mode))
        prepared = encoder.prepare(codec.engine, picture, tile_size=128, effort=0, max_pixels=10**6)
        candidate = prepared.encode_at(encoder.CodingPoint(codec.ladder.base(), 4 * 4096))
        shown = codec.decode(candidate.stream())
        rgb = load_picture(shown).rgb
        seen = np.ones(rgb.shape[:2], bool) if picture.alpha is None else picture.alpha > 0
        source, rgb = picture.rgb[seen][None], rgb[seen][None]
        error = squared_error(source, rgb, grey=picture.grey) / rgb.size
        assert candidate.psnr() == pytest.approx(10 * np.log10(255**2 / error))
        assert shown.mode == mode


class TestDecoding:
    @pytest.mark.parametrize(
        ("halo", "band", "seams"), [(HALO, BAND, False), (HALO, 64, False), (0, BAND, True)]
    )
    def test_seams(self, monkeypatch, halo, band, seams):
        """Near edges of tiles and bands the trained codec is as good as before, by the halo."""
        monkeypatch.setattr(tiling, "BAND", band)
        codec = Codec.load()
        object.__setattr__(codec.config.codec, "halo", halo)  # its hash is made already
        path = ASSETS / "coffee.png"
        picture = Image.open(path).convert("RGB").crop((100, 0, 484, 384))
        near = np.zeros((384, 384), bool)
        for edge in range(band % 128 or 128, 384, min(band, 128)):
            near[edge - 8 : edge + 8] = near[:, edge - 8 : edge + 8] = True
        decibels = []
        for size in (0, 128):
            shown = codec.decode(codec.encode(picture, tile_size=size))
            error = ((pixels(shown) - pixels(picture)) ** 2)[near].mean()
            decibels.append(10 * np.log10(255**2 / error))
        assert (decibels[0] - decibels[1] > 0.1) == seams

    @pytest.mark.parametrize(
        "region",
        [(0, 0, 300, 210), (0, 0, 1, 1), (120, 120, 20, 15), (299, 209, 1, 1), (0, 130, 300, 3)],
    )
    def test_a_region_is_a_part_of_the_picture(self, codec, stream, region):
        x, y, width, height = region
        whole = codec.decode(stream)
        part = codec.decode(stream, region=region)
        assert part.size == (width, height)
        difference = pixels(part) - pixels(whole.crop((x, y, x + width, y + height)))
        assert np.abs(difference).max() <= 1

    def test_bands_inside_a_tile(self, codec, monkeypatch):
        """The networks see a part of a tile at a time, as large as memory allows."""
        data = codec.encode(photo(100, 640), tile_size=512)
        whole = pixels(codec.decode(data))
        monkeypatch.setattr(tiling, "BAND", 64)
        banded = pixels(codec.decode(data))
        assert 0 < np.abs(banded - whole).max() <= 8  # what reaches beyond the halo
        part = pixels(codec.decode(data, region=(10, 190, 70, 9)))
        assert np.array_equal(part, banded[190:199, 10:80])
        again = codec.encode(photo(100, 640), tile_size=512)  # here and there a latent differs
        same = [codec.decode_latents(each).symbols for each in (data, again)]
        assert 0.95 < (same[0] == same[1]).mean() < 1

    def test_a_region_of_one_tile_and_with_alpha(self, codec):
        data = codec.encode(photo(100, 90, mode="RGBA"))
        part = codec.decode(data, region=(10, 20, 30, 40))
        assert np.array_equal(pixels(part), pixels(codec.decode(data).crop((10, 20, 40, 60))))

    def test_only_the_tiles_that_it_needs_are_read(self, codec, stream, tmp_path):
        """The tiles that are not needed may be damaged, and the file is read in parts."""
        header = bitstream.parse_header(stream)
        wide = codec.encode(photo(640, 64), tile_size=128)
        expected = pixels(codec.decode(wide, region=(0, 0, 128, 64)))
        header = bitstream.parse_header(wide)
        keep = header.size + sum(tile.size for tile in header.tiles[:2])
        damaged = wide[:keep] + bytes(len(wide) - keep)
        (tmp_path / "a.pc").write_bytes(damaged)
        for source in (damaged, tmp_path / "a.pc"):
            assert np.array_equal(pixels(codec.decode(source, region=(0, 0, 128, 64))), expected)
        with pytest.raises(StreamError, match="tile 2 is damaged"):
            codec.decode(damaged)
        with pytest.raises(StreamError, match="tile 2 is damaged"):
            codec.decode(damaged, region=(0, 0, 129, 64))

    @pytest.mark.parametrize(
        "region", [(0, 0, 0, 1), (-1, 0, 5, 5), (299, 0, 2, 1), (0, 209, 1, 2), (900, 900, 1, 1)]
    )
    def test_regions_outside(self, codec, stream, region):
        with pytest.raises(UsageError, match="not inside the picture of 300x210"):
            codec.decode(stream, region=region)

    def test_the_limit_counts_what_is_decoded(self, codec, stream):
        limit = 2 * 128 * 128
        assert codec.decode(stream, region=(0, 0, 9, 9), max_pixels=limit).size == (9, 9)
        with pytest.raises(StreamError, match="--max-pixels"):
            codec.decode(stream, region=(0, 0, 300, 100), max_pixels=limit)
        with pytest.raises(StreamError, match="--max-pixels"):
            codec.decode(stream, max_pixels=limit)

    def test_alpha_counts_as_a_whole(self, codec):
        data = codec.encode(photo(150, 200, mode="RGBA"), tile_size=64)
        region = (10, 20, 30, 40)
        assert codec.decode(data, region=region, max_pixels=150 * 200).mode == "RGBA"
        with pytest.raises(StreamError, match=r"alpha of all 150x200 px .* --max-pixels"):
            codec.decode(data, region=region, max_pixels=150 * 200 - 1)

    def test_latents_of_its_neighbours_alone_are_in_memory(self, codec):
        container = bitstream.parse(codec.encode(photo(640, 64), tile_size=64))
        tiling = Tiling(640, 64, 64, halo=64)
        read = container.tiles.__getitem__
        decoder = TileDecoder(codec.engine, codec.at(), codec.at().gains, tiling, read)
        next(decoder.rows(Box(10, 330, 20, 340)))
        assert [box for box, _ in decoder._rows.values()] == [Box(0, 256, 64, 448)]

    def test_threads_and_order_change_no_symbol(self, codec, stream):
        first = codec.decode_latents(stream)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        second = codec.decode_latents(stream)
        torch.set_num_threads(before)
        assert np.array_equal(first.symbols, second.symbols)
        assert np.array_equal(first.indexes, second.indexes)


class TestPartial:
    def cut(self, data: bytes, tiles_left: float) -> bytes:
        header = bitstream.parse_header(data)
        sizes = [tile.size for tile in header.tiles]
        whole = int(tiles_left)
        size = header.size + sum(sizes[:whole])
        return data[: size + int((tiles_left - whole) * sizes[whole])]

    def test_whole_tiles_are_given_and_the_others_named(self, codec, stream):
        whole = pixels(codec.decode(stream))
        cut = self.cut(stream, 3.5)
        with pytest.raises(StreamError, match="truncated"):
            codec.decode(cut)
        found = codec.decode_detailed(cut, allow_partial=True)
        assert found.missing == ("tile 3", "tile 4", "tile 5")
        shown = pixels(found.picture)
        assert (shown[128:] == 128).all()
        inner = 128 - HALO  # what is missing hardly reaches beyond the halo
        assert np.abs(shown[:inner] - whole[:inner]).mean() < 0.1
        assert np.abs(shown[:128] - whole[:128]).mean() < 2

    def test_whole_streams_lack_nothing(self, codec, stream):
        found = codec.decode_detailed(stream, allow_partial=True)
        assert found.missing == ()
        assert np.array_equal(pixels(found.picture), pixels(codec.decode(stream)))

    def test_a_lost_chunk_is_named(self, codec):
        data = codec.encode(photo(*SIZE, mode="RGBA"), tile_size=128)
        found = codec.decode_detailed(data[:-1], allow_partial=True)
        assert found.missing == ("chunk ALPH",) and found.picture.mode == "RGB"

    def test_a_damaged_tile_is_missing(self, codec, stream):
        damaged = stream[:-1] + bytes([stream[-1] ^ 1])
        assert codec.decode_detailed(damaged, allow_partial=True).missing == ("tile 5",)

    def test_a_region_of_missing_tiles_is_refused(self, codec, stream):
        cut = self.cut(stream, 3.5)
        whole = codec.decode_detailed(cut, region=(0, 0, 9, 9), allow_partial=True)
        assert whole.picture.size == (9, 9)
        with pytest.raises(StreamError, match="no tile of the region is whole"):
            codec.decode(cut, region=(200, 150, 50, 50), allow_partial=True)

    def test_nothing_whole_is_refused(self, codec, stream):
        with pytest.raises(StreamError, match="no tile of the stream is whole"):
            codec.decode(self.cut(stream, 0.5), allow_partial=True)
        with pytest.raises(StreamError, match="truncated"):
            codec.decode(stream[:30], allow_partial=True)
        with pytest.raises(StreamError, match="data follow the end"):
            codec.decode(stream + b"\0", allow_partial=True)


class TestMemory:
    def test_tiles_keep_it_small(self):
        config = SMALL

        def gigabytes(side: int, size: int) -> float:
            tiling = Tiling(side, side, size, HALO)
            return memory_limit.estimate(config, tiling, tiling.whole) / 1e9

        assert gigabytes(9408, 512) < 1.2 < 15 < gigabytes(9408, 0)
        assert 0.6 < gigabytes(2048, 0) < 1.0  # of the order of what it takes
        region, tiling = Box(0, 0, 64, 64), Tiling(9408, 9408, 512, HALO)
        assert memory_limit.estimate(config, tiling, region) < 1e8

    def test_the_limit_follows_that_of_pixels(self):
        def excess(size: int, pixels: int) -> str:
            tiling = Tiling(9408, 9408, size, HALO)
            return memory_limit.excess(SMALL, tiling, tiling.whole, max_pixels=pixels)

        assert "tiles of 9408x9408 px take about 1" in excess(0, bitstream.MAX_PIXELS)
        assert not excess(512, bitstream.MAX_PIXELS) and not excess(512, 1)
        assert not excess(0, 1 << 30)

    def test_it_is_asked_before_anything_is_allocated(self, codec, stream, monkeypatch):
        monkeypatch.setattr(memory_limit, "ALLOWED", 0)
        for action in (
            lambda: codec.decode(stream),
            lambda: codec.decode(stream, region=(0, 0, 9, 9)),
            lambda: codec.decode_batch([stream]),
            lambda: codec.decode_latents(stream),
        ):
            with pytest.raises(StreamError, match="take about"):
                action()
        for tile_size in (0, 128):
            with pytest.raises(PictureError, match="smaller tiles"):
                codec.encode(photo(*SIZE), tile_size=tile_size)
        with pytest.raises(PictureError, match="leave --effort out, or raise --max-pixels"):
            codec.encode(photo(*SIZE), effort=1)

    def test_latents_alone_take_less(self):
        tiling = Tiling(9408, 9408, 0, HALO)
        arguments = SMALL, tiling, tiling.whole
        assert memory_limit.excess(*arguments, max_pixels=bitstream.MAX_PIXELS)
        assert not memory_limit.excess(
            *arguments, max_pixels=bitstream.MAX_PIXELS, latents_alone=True
        )
