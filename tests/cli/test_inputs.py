"""Files, folders and patterns: what is taken, and where results go."""

from pathlib import Path

import pytest
from small_trees import picture

from promptcodec.cli.inputs import InputSpec
from promptcodec.errors import OutputError, UsageError
from promptcodec.io.find import PICTURE_SUFFIXES


class TestSelection:
    def names(self, *names, recursive=False):
        return InputSpec(tuple(map(str, names)), PICTURE_SUFFIXES, recursive=recursive)

    def test_a_folder_is_mirrored(self, photos, tmp_path):
        chosen = self.names(photos, recursive=True).select(str(tmp_path / "out"), suffix=".pc")
        targets = [pair.target.relative_to(tmp_path / "out").as_posix() for pair in chosen.pairs]
        assert targets == ["a.pc", "deep/b.pc", "deep/broken.pc", "deep/er/c.pc"]
        assert (chosen.refused, chosen.ignored) == ((), 1)

    def test_without_an_output_results_lie_beside(self, photos):
        chosen = self.names(photos, recursive=True).select(None, suffix=".pc")
        assert all(pair.target == pair.source.with_suffix(".pc") for pair in chosen.pairs)

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.png", ["a.pc"]),
            ("**/*.png", ["a.pc", "deep/broken.pc"]),
            ("d*/*/c.*", ["deep/er/c.pc"]),
            ("deep/[ab].JPG", ["b.pc"]),
        ],
    )
    def test_patterns_are_mirrored_from_the_first_wildcard(self, photos, pattern, found):
        chosen = self.names(photos / pattern).select("out", suffix=".pc")
        assert [str(pair.target) for pair in chosen.pairs] == [f"out/{name}" for name in found]

    def test_a_file_whose_name_looks_like_a_pattern(self, tmp_path):
        odd = tmp_path / "x[1].png"
        odd.write_bytes(b"")
        assert not self.names(odd).are_several(None)
        assert self.names(tmp_path / "y[1].png").are_several(None)

    def test_a_file_that_is_named_twice_is_done_once(self, photos):
        chosen = self.names(photos, photos / "a.png", recursive=True).select(None, suffix=".pc")
        assert [pair.source.name for pair in chosen.pairs].count("a.png") == 1

    def test_files_that_would_overwrite_each_other(self, photos):
        picture(5).save(photos / "a.jpg")
        chosen = self.names(photos, recursive=True).select("out", suffix=".pc")
        assert {Path(name).name for name, _ in chosen.refused} == {"a.jpg", "a.png"}
        assert all("2 files would become out/a.pc" in str(error) for _, error in chosen.refused)
        assert all(pair.source.stem != "a" for pair in chosen.pairs)

    def test_what_gives_no_file_is_refused(self, photos, tmp_path):
        (tmp_path / "empty").mkdir()
        names = self.names(photos / "*.bmp", photos, tmp_path / "a.pc")
        says = [str(error) for _, error in names.select(None, suffix=".pc").refused]
        assert [text.split(":")[0].split(" ", 1)[-1] for text in says] == [
            f"file has a name like {photos}/*.bmp",
            "is a folder",
            "is a .pc already",
        ]
        ((_, error),) = (
            self.names(tmp_path / "empty", recursive=True).select(None, suffix=".pc").refused
        )
        assert "holds no file to take" in str(error)

    @pytest.mark.parametrize("output", ["-", "one.pc"])
    def test_several_results_need_a_folder(self, photos, output):
        with pytest.raises(UsageError, match="name a folder by -o"):
            self.names(photos, recursive=True).select(output, suffix=".pc")

    def test_a_file_is_no_folder(self, photos):
        with pytest.raises(OutputError, match="is a file and several results need a folder"):
            self.names(photos, recursive=True).select(str(photos / "note.txt"), suffix=".pc")

    def test_standard_input_is_named_alone(self, photos):
        with pytest.raises(UsageError, match="- is one picture"):
            self.names("-", photos).select(None, suffix=".pc")

    def test_loops_of_links_end(self, photos):
        (photos / "deep" / "loop").symlink_to(photos)
        assert len(self.names(photos, recursive=True).select(None, suffix=".pc").pairs) == 4
