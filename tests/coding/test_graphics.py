"""Exact tiles: their choice by cost, and every way to read them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding import encoder, graphics
from promptcodec.coding.decoder import TileDecoder
from promptcodec.coding.encoder import CodingPoint, prepare
from promptcodec.coding.graphics import ExactSearch, exact_file
from promptcodec.coding.halo import fill_corners, window_beside
from promptcodec.coding.settings import EncodeSettings
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.errors import RateError, StreamError, UsageError
from promptcodec.io import exact as io_exact
from promptcodec.io.load import load_picture

FLAT = np.zeros((150, 200, 3), np.uint8)
FLAT[20:90, 30:120] = (250, 20, 60)
FLAT[60:140, 100:180] = (10, 90, 240)


def noise(height: int, width: int) -> np.ndarray:
    """Smooth colours, in which no pixel is equal to its neighbour."""
    small = np.random.default_rng(2).integers(60, 190, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return smooth + np.random.default_rng(3).integers(0, 4, smooth.shape, dtype=np.uint8)


def page(height: int = 200, width: int = 300) -> np.ndarray:
    """Flat colours at the left, smooth ones at the right."""
    rgb = noise(height, width)
    rgb[:, :128] = 255
    rgb[40:60, 20:100] = (20, 60, 200)
    return rgb


@pytest.fixture(scope="module")
def codec(tiny_checkpoint, tiny_ladder, tiny_heads) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)


@pytest.fixture(scope="module")
def trained() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def stream(codec: Codec) -> bytes:
    """4 x 5 tiles of 64 px: exact ones beside, above, below others, and in corners alone."""
    prepared = prepare(codec.engine, load_picture(page()), tile_size=64, effort=0, max_pixels=10**6)
    files = {n: exact_file(prepared, prepared.tiling.tile(n)) for n in (0, 7, 10, 11, 18)}
    return replace(prepared, exact=files).encode_at(CodingPoint(codec.at(4), 4 * 4096)).stream()


@pytest.fixture
def cells_of_64(monkeypatch):
    monkeypatch.setattr(graphics, "CELL", 64)


def exact_of(data: bytes) -> frozenset[int]:
    return bitstream.parse_header(data).exact_tiles


def cost(codec: Codec, rgb: np.ndarray, data: bytes, rate: int) -> float:
    error = np.square(np.asarray(codec.decode(data)).astype(float) - rgb).sum()
    return 8 * len(data) + codec.at(rate).lmbda * error / 3


class TestChoice:
    @pytest.mark.parametrize("rate", [2, 4, 6])
    def test_flat_pictures_are_one_exact_tile(self, codec, rate):
        data = codec.encode(FLAT, rate_index=rate)
        header = bitstream.parse_header(data)
        assert (header.version, header.tile_grid, header.exact_tiles) == (2, (1, 1), {0})
        assert np.array_equal(np.asarray(codec.decode(data)), FLAT)
        assert bitstream.fixed_to_rate(header.rate) == rate  # by which a head knows its lambda

    def test_photographs_keep_their_bytes_and_nothing_more_is_done(self, codec, monkeypatch):
        rgb = noise(150, 130)
        never = codec.encode(rgb, graphics="never")
        monkeypatch.setattr(graphics, "encode_exact", None)
        assert codec.encode(rgb) == never
        assert bitstream.parse_header(never).version == 1

    @pytest.mark.usefixtures("cells_of_64")
    def test_mixed_pictures_have_both(self, trained):
        rgb = page()
        data = trained.encode(rgb)
        header = bitstream.parse_header(data)
        assert (header.version, header.tile_size) == (2, 64)
        left = {n for n in range(20) if n % 5 < 2}
        assert {0, 1} <= exact_of(data) <= left  # white is cheap in either way
        shown = np.asarray(trained.decode(data))
        assert np.array_equal(shown[:64, :128], rgb[:64, :128])
        assert not np.array_equal(shown, rgb)

    @pytest.mark.usefixtures("cells_of_64")
    @pytest.mark.parametrize("rate", [2, 4, 6])
    @pytest.mark.parametrize("rgb", [FLAT, page(), page(70, 400)], ids=["flat", "page", "strip"])
    def test_no_stream_costs_more_than_without(self, codec, rgb, rate):
        with_exact, without = (
            cost(codec, rgb, codec.encode(rgb, rate_index=rate, graphics=each), rate)
            for each in ("auto", "never")
        )
        assert with_exact < without

    def test_the_lambda_of_the_rate_decides(self, trained):
        """A tile whose lossless file is large is exact where error counts enough."""
        rgb = noise(64, 256)
        dots = np.random.default_rng(0).integers(0, 4, (64, 64, 1), dtype=np.uint8)
        rgb[:, :128] = 9 * dots.repeat(2, axis=1)
        chosen = [exact_of(trained.encode(rgb, rate_index=r, tile_size=128)) for r in (0, 3, 7)]
        assert chosen[0] == frozenset() and chosen[-1] == {0}

    @pytest.mark.usefixtures("cells_of_64")
    def test_what_was_tried_and_costs_more_is_not_written(self, trained, monkeypatch):
        monkeypatch.setattr(graphics, "WHOLE_SHARE", 0.0)  # the whole picture is always tried
        dots = np.random.default_rng(0).integers(0, 4, (64, 64, 1), dtype=np.uint8)
        rgb = 9 * dots.repeat(2, axis=1).repeat(3, axis=2)
        never = trained.encode(rgb, rate_index=0, graphics="never")
        assert trained.encode(rgb, rate_index=0) == never
        assert exact_of(trained.encode(rgb, rate_index=7)) == {0}

    def test_given_tiles_are_kept(self, codec):
        data = codec.encode(FLAT, tile_size=64)
        assert bitstream.parse_header(data).tile_grid == (3, 4)
        assert len(exact_of(data)) == 12
        assert bitstream.parse_header(codec.encode(FLAT, tile_size=0)).tile_grid == (1, 1)

    @pytest.mark.usefixtures("cells_of_64")
    def test_large_pictures(self, trained, monkeypatch):
        monkeypatch.setattr(encoder, "ONE_TILE_PIXELS", 0)
        monkeypatch.setattr(encoder, "TILE_SIZE", 128)
        assert bitstream.parse_header(trained.encode(noise(200, 300))).tile_size == 128
        assert bitstream.parse_header(trained.encode(page())).tile_size == 64
        assert bitstream.parse_header(trained.encode(FLAT)).tile_size == 0

    def test_hidden_colours_cost_nothing(self, codec):
        hidden = np.random.default_rng(1).integers(0, 256, (64, 96, 4), dtype=np.uint8)
        hidden[:, :, 3] = 0
        hidden[20:40, 30:60] = (200, 30, 90, 255)
        hidden[22, 31] = (0, 0, 0, 255)
        data = codec.encode(hidden)
        assert exact_of(data) == {0}
        shown, seen = np.asarray(codec.decode(data)), hidden[:, :, 3] > 0
        assert np.array_equal(shown[seen], hidden[seen])
        assert not shown[~seen][:, 3].any()
        assert bitstream.parse_header(data).tiles[0].size < 80

    @pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
    def test_modes(self, codec, mode):
        picture = Image.fromarray(FLAT).convert(mode)
        if mode.endswith("A"):
            picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        shown = codec.decode(codec.encode(picture, graphics="always"))
        seen = np.asarray(picture.convert("RGBA"))[:, :, 3] > 0
        assert shown.mode == mode
        assert np.array_equal(np.asarray(shown)[seen], np.asarray(picture)[seen])

    def test_a_task_has_latents(self, codec, monkeypatch):
        monkeypatch.setattr(type(codec.engine), "with_task", lambda self, network, task: network)
        monkeypatch.setattr(codec, "_source", None)
        assert not exact_of(codec.encode(FLAT, task="classify", rate_index=4))

    def test_batches(self, codec):
        pictures = [FLAT, noise(150, 200), FLAT[:, ::-1]]
        for choice, exact in (("auto", 2), ("never", 0), ("always", 3)):
            found = codec.encode_batch(pictures, rate_index=[2, 4, 6], graphics=choice)
            assert sum(map(len, map(exact_of, found))) == exact
            shown = codec.decode_batch(found)
            for rgb, data, picture in zip(pictures, found, shown, strict=True):
                assert np.array_equal(picture, codec.decode(data))
                assert not exact_of(data) or np.array_equal(np.asarray(picture), rgb)


class TestAlways:
    @pytest.mark.parametrize("options", [{}, {"tile_size": 64}, {"rate_index": 2.5}])
    def test_everything_is_exact(self, codec, options):
        rgb = noise(70, 150)
        encoded = codec.encode_detailed(rgb, graphics="always", **options)
        assert encoded.exact_tiles == len(bitstream.parse_header(encoded.data).tiles)
        assert 8 * len(encoded.data) / rgb[:, :, 0].size > encoded.bpp_estimate > 1
        assert np.array_equal(np.asarray(codec.decode(encoded.data)), rgb)

    def test_sides_that_no_webp_has(self, codec):
        strip = np.zeros((1, 16_384, 3), np.uint8)
        for choice in ("always", "auto"):
            data = codec.encode(strip, graphics=choice)
            size = {"always": 16_320, "auto": graphics.CELL}[choice]
            assert bitstream.parse_header(data).tile_size == size
            assert np.array_equal(np.asarray(codec.decode(data)), strip)
        with pytest.raises(UsageError, match="exact tiles of 16384 px, and a WebP file has at"):
            codec.encode(strip, graphics="always", tile_size=0)

    @pytest.mark.parametrize("options", [{"tile_size": 0}, {"effort": 1}, {"tile_size": 128}])
    def test_tiles_that_no_webp_holds_are_not_exact(self, codec, monkeypatch, options):
        for module in (graphics, io_exact):
            monkeypatch.setattr(module, "LONGEST_SIDE", 127)
        data = codec.encode(FLAT, **options)
        shown = np.asarray(codec.decode(data))
        assert exact_of(data) == ({3} if options == {"tile_size": 128} else frozenset())
        assert np.array_equal(shown[128:, 128:], FLAT[128:, 128:]) == bool(exact_of(data))
        with pytest.raises(RateError, match="cannot be reached"):
            codec.encode(FLAT, target_psnr=90, tile_size=0)

    @pytest.mark.usefixtures("cells_of_64")
    def test_no_more_tiles_than_a_stream_has(self, codec, monkeypatch):
        monkeypatch.setattr(graphics, "MAX_TILES", 19)  # one less than the cells of the page
        assert bitstream.parse_header(codec.encode(page())).tile_size == 0

    @pytest.mark.parametrize("value", ["", "Auto", "yes", None, 1, True, np.zeros(2)])
    def test_other_choices(self, value):
        with pytest.raises(UsageError, match=r"graphics is .*; need one of auto, never, always"):
            EncodeSettings(graphics=value)

    @pytest.mark.parametrize(
        "options", [{"target_bytes": 900}, {"effort": 1}, {"task": "classify"}, {"target_psnr": 30}]
    )
    def test_contradictions(self, options):
        with pytest.raises(UsageError, match="'always' codes every pixel exactly"):
            EncodeSettings(graphics="always", **options)


class TestTargets:
    def test_a_size_with_room(self, codec):
        exact = codec.encode(FLAT)
        for options in ({"target_bytes": 10 * len(exact)}, {"target_bpp": 2.0, "strict": True}):
            encoded = codec.encode_detailed(FLAT, **options)
            assert exact_of(encoded.data) == {0} and encoded.target_met
            assert len(encoded.data) <= len(exact) + 8

    def test_a_size_to_the_byte(self, codec):
        for width in range(150, 158):  # the logarithms of some sizes are rounded down
            exact = codec.encode(FLAT[:, :width])
            again = codec.encode(FLAT[:, :width], target_bytes=len(exact), strict=True)
            assert exact_of(again) == {0}

    @pytest.mark.usefixtures("cells_of_64")
    def test_a_size_with_room_for_many_exact_tiles(self, codec, monkeypatch):
        monkeypatch.setattr(graphics, "LONGEST_SIDE", 127)  # never one tile
        exact = codec.encode(FLAT, rate_index=6)
        assert len(exact_of(exact)) == 12
        for size in (1.5, 10):
            found = codec.encode(FLAT, target_bytes=size * len(exact))
            assert np.array_equal(np.asarray(codec.decode(found)), FLAT)

    @pytest.mark.usefixtures("cells_of_64")
    def test_a_size_of_a_mixed_picture(self, trained):
        rgb = page(128, 256)
        wanted = len(trained.encode(rgb, rate_index=4, graphics="never"))
        found = {
            choice: trained.encode_detailed(rgb, target_bytes=wanted, graphics=choice)
            for choice in ("auto", "never")
        }
        assert 0 < found["auto"].exact_tiles < 8
        assert abs(len(found["auto"].data) - wanted) <= 0.01 * wanted
        errors = [
            np.square(np.asarray(trained.decode(each.data)).astype(float) - rgb).mean()
            for each in found.values()
        ]
        assert errors[0] < errors[1]

    def test_a_psnr_that_no_rate_reaches(self, codec):
        for rgb in (FLAT, noise(64, 64)):
            encoded = codec.encode_detailed(rgb, target_psnr=70)
            assert encoded.target_met and exact_of(encoded.data) == {0}
            with pytest.raises(RateError, match="cannot be reached"):
                codec.encode(rgb, target_psnr=70, graphics="never")
        with pytest.raises(RateError, match="cannot be reached"):
            codec.encode(noise(64, 64), target_psnr=1)

    def test_a_psnr_for_fewer_bytes(self, codec):
        never = codec.encode_detailed(FLAT, rate_index=4, graphics="never")
        error = np.square(np.asarray(codec.decode(never.data)).astype(float) - FLAT).mean()
        encoded = codec.encode_detailed(FLAT, target_psnr=10 * np.log10(255**2 / error))
        assert exact_of(encoded.data) == {0} and len(encoded.data) < len(never.data)


class TestReading:
    @pytest.mark.parametrize(
        "region", [(0, 0, 300, 200), (0, 0, 1, 1), (120, 60, 90, 70), (128, 64, 64, 64)]
    )
    def test_regions(self, codec, stream, region):
        x, y, width, height = region
        whole = codec.decode(stream).crop((x, y, x + width, y + height))
        part = codec.decode(stream, region=region)
        difference = np.asarray(whole).astype(int) - np.asarray(part)
        assert np.abs(difference).max() <= 1

    @pytest.mark.parametrize("corner", [0, 12])
    def test_an_exact_tile_in_a_corner_is_not_read(self, codec, corner):
        prepared = prepare(
            codec.engine, load_picture(page()), tile_size=64, effort=0, max_pixels=10**6
        )
        files = {corner: exact_file(prepared, prepared.tiling.tile(corner))}
        point = CodingPoint(codec.at(4), 4 * 4096)
        container = bitstream.parse(replace(prepared, exact=files).encode_at(point).stream())
        tiles = [*container.tiles]
        whole = codec.decode(bitstream.pack(container), region=(64, 64, 64, 64))
        tiles[corner] = bitstream.ExactTile(b"")
        without = bitstream.pack(replace(container, tiles=tuple(tiles)))
        assert codec.decode(without, region=(64, 64, 64, 64)) == whole
        with pytest.raises(StreamError, match="too few"):
            codec.decode(without)

    def test_an_exact_neighbour_is_not_read(self, codec, stream):
        header = bitstream.parse_header(stream)
        at = header.size + sum(tile.size for tile in header.tiles[:7])
        damaged = stream[:at] + b"X" + stream[at + 1 :]
        assert codec.decode(damaged, region=(64, 64, 64, 64)) == codec.decode(
            stream, region=(64, 64, 64, 64)
        )
        with pytest.raises(StreamError, match="tile 7 is damaged"):
            codec.decode(damaged)
        found = codec.decode_detailed(damaged, allow_partial=True)
        assert found.missing == ("tile 7",)
        shown, whole = np.asarray(found.picture), np.asarray(codec.decode(stream))
        assert (shown[64:128, 128:192] == 128).all()
        assert np.array_equal(shown[:, :128], whole[:, :128])

    def test_other_payloads_are_refused(self, codec, stream):
        container = bitstream.parse(stream)
        for payload, says in (
            (b"", "0 bytes, too few"),
            (container.tiles[18].webp, "of 64x64 px is a WebP file of 64x8 px"),
        ):
            tiles = [*container.tiles]
            tiles[7] = bitstream.ExactTile(payload)
            data = bitstream.pack(replace(container, tiles=tuple(tiles)))
            for read in (codec.decode, codec.decode_latents, codec.classify):
                with pytest.raises(StreamError, match=r"too few|is a WebP file of"):
                    read(data)
            with pytest.raises(StreamError, match=says):
                codec.decode_batch([data])

    def test_one_row_of_exact_tiles_is_in_memory(self, codec):
        container = bitstream.parse(codec.encode(FLAT, graphics="always", tile_size=64))
        tiling = Tiling(container.width, container.height, 64, halo=64)
        decoder = TileDecoder(
            codec.engine,
            codec.at(),
            codec.at().gains,
            tiling,
            container.tiles.__getitem__,
            container.exact_tiles,
        )
        assert [len(decoder._exact) for _ in decoder.rows(tiling.picture)] == [4, 4, 4]

    def test_latents_are_those_of_the_pixels(self, codec):
        exact, learned = (
            codec.encode(FLAT, graphics=choice, rate_index=6, gain_steps=3)
            for choice in ("always", "never")
        )
        found, own = codec.decode_latents(exact), codec.decode_latents(learned)
        for name in ("z_hat", "indexes", "symbols", "y_hat"):
            assert np.array_equal(getattr(found, name), getattr(own, name)), name
        assert codec.classify(exact) == codec.classify(learned)
        assert np.array_equal(codec.segment(exact), codec.segment(learned))
        batch = codec.classify_batch([exact, learned, codec.encode(noise(64, 64))])
        assert batch[0] == batch[1]

    def test_latents_of_a_mixed_stream(self, codec, stream):
        latents = codec.decode_latents(stream)
        assert latents.y_hat.shape[2:] == (16, 20)
        assert codec.segment(stream).shape == (200, 300)

    def test_large_exact_tiles_are_analysed_in_parts(self, codec, monkeypatch):
        data = codec.encode(FLAT, graphics="always")
        whole = codec.decode_latents(data)
        monkeypatch.setattr(encoder, "ONE_TILE_PIXELS", 0)
        monkeypatch.setattr(encoder, "TILE_SIZE", 64)
        parts = codec.decode_latents(data)
        assert parts.symbols.shape == whole.symbols.shape
        assert codec.segment(data).shape == FLAT.shape[:2]


class TestWindows:
    TILING = Tiling(64 * 5, 64 * 4, 64, halo=64)  # 4 x 5 tiles

    @pytest.mark.parametrize(
        ("exact", "window"),
        [
            ((), Box(0, 0, 192, 192)),
            ((1,), Box(64, 0, 192, 192)),
            ((5,), Box(0, 64, 192, 192)),
            ((7,), Box(0, 0, 192, 128)),
            ((11,), Box(0, 0, 128, 192)),
            ((0, 2, 10, 12), Box(0, 0, 192, 192)),
            ((1, 5, 7, 11), Box(64, 64, 128, 128)),
        ],
    )
    def test_where_they_end(self, exact, window):
        tile = self.TILING.tile(6)
        assert window_beside(self.TILING, 6, tile, frozenset(exact)) == window

    def test_a_far_exact_tile_ends_a_long_halo(self):
        tiling = replace(self.TILING, halo=128)
        window = window_beside(tiling, 7, tiling.tile(7), {5, 17})
        assert window == Box(0, 64, 192, 320)

    def test_bands_inside_a_tile_keep_their_halo(self):
        tiling = Tiling(1024, 2048, 1024, halo=64)
        first, second = tiling.bands(0)
        assert window_beside(tiling, 0, first, {1}) == Box(0, 0, 576, 1024)
        assert window_beside(tiling, 0, second, {1}) == Box(448, 0, 1024, 1024)

    def test_corners_are_the_nearest_element(self):
        tiling, tile = self.TILING, self.TILING.tile(6)
        window = tiling.window(tile)
        values = np.arange(12 * 12.0).reshape(1, 1, 12, 12)
        before = values.copy()
        fill_corners(values, window, tiling=tiling, number=6, exact={0, 12}, stride=16)
        assert (values[0, 0, :4, :4] == before[0, 0, 4, 4]).all()
        assert (values[0, 0, 8:, 8:] == before[0, 0, 7, 7]).all()
        changed = (values != before)[0, 0]
        assert not changed[4:8].any() and not changed[:4, 4:].any() and not changed[8:, :8].any()

    @pytest.mark.parametrize("number", [1, 5, 6])
    def test_latents_depend_on_no_pixel_of_an_exact_tile(self, codec, number):
        rgb, found = noise(200, 300), []
        for level in (0, 255):
            rgb[:64, :64] = level
            prepared = prepare(
                codec.engine, load_picture(rgb), tile_size=64, effort=0, max_pixels=10**6
            )
            prepared = replace(prepared, exact={0: b""})
            found.append(prepared.latents_of(number, CodingPoint(codec.at(6), 6 * 4096)))
        assert np.array_equal(found[0].symbols, found[1].symbols)

    def test_the_window_of_g_a_ends_at_an_exact_tile(self, codec, monkeypatch):
        prepared = prepare(
            codec.engine, load_picture(page()), tile_size=64, effort=0, max_pixels=10**6
        )
        prepared, shapes, own = replace(prepared, exact={1: b""}), [], codec.engine.analyse

        def analyse(pixels, **options):
            shapes.append(pixels.shape)
            return own(pixels, **options)

        monkeypatch.setattr(codec.engine, "analyse", analyse)
        prepared.latents_of(6, CodingPoint(codec.at(4), 4 * 4096))
        assert shapes == [(1, 128, 192, 3)]

    def test_the_picture_is_left_as_it_was(self, codec):
        picture = load_picture(page())
        prepared = prepare(codec.engine, picture, tile_size=64, effort=0, max_pixels=10**6)
        files = {n: exact_file(prepared, prepared.tiling.tile(n)) for n in (0, 2, 10, 12)}
        replace(prepared, exact=files).encode_at(CodingPoint(codec.at(4), 4 * 4096)).stream()
        assert np.array_equal(picture.rgb, page())


class TestLook:
    def look(self, codec, rgb: np.ndarray) -> tuple[int, ...]:
        prepared = prepare(
            codec.engine, load_picture(rgb), tile_size=None, effort=0, max_pixels=10**8
        )
        return ExactSearch.of(prepared, tile_size=None, effort=0).flat

    @pytest.mark.usefixtures("cells_of_64")
    def test_flat_tiles(self, codec):
        assert set(self.look(codec, page())) == {n for n in range(20) if n % 5 < 2}
        assert self.look(codec, noise(1, 1)) == (0,)
        assert self.look(codec, noise(64, 65)) == (1,)  # one px wide: nothing to compare

    def test_half_of_the_neighbours(self, codec):
        rgb = np.zeros((64, 101, 3), np.uint8)
        rgb[:, 51:, 1] = 1 + np.arange(50)
        assert self.look(codec, rgb) == (0,)
        rgb[:, 50, 1] = 60
        assert self.look(codec, rgb) == ()

    def test_hidden_colours_do_not_count(self, codec):
        hidden = np.dstack([noise(64, 128), np.zeros((64, 128), np.uint8)])
        hidden[:, 64:, 3] = 255
        prepared = prepare(
            codec.engine, load_picture(hidden), tile_size=64, effort=0, max_pixels=10**6
        )
        assert ExactSearch.of(prepared, tile_size=64, effort=0).flat == (0,)

    def test_large_pictures_are_looked_at_in_pillow(self, codec, tmp_path):
        Image.fromarray(FLAT).save(tmp_path / "a.png")
        assert exact_of(codec.encode(tmp_path / "a.png", tile_size=64))
