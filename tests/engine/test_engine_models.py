"""Model directories: what is refused, with which words; where names lead."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from symphony.engine import registry, rope
from symphony.engine.config import FAMILIES, MAX_LAYERS, ModelConfig
from symphony.engine.headers import survey
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Batch, Readings, Row, Sampling
from symphony.engine.problems import Problem, refuse
from symphony.engine.rotary import Rope
from symphony.engine.weights import digest
from symphony.errors import Invalid, NotFound, Unavailable

TINY = registry.find("tiny")
WINDOW = {"sliding_window": 64, "use_sliding_window": True}
RAW = json.loads((TINY / "config.json").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_tiny_is_described():
    config = ModelConfig.load(TINY)
    assert (config.layers, config.heads, config.kv_heads, config.head_dim) == (8, 4, 2, 64)
    assert (config.stop_tokens, config.bos_token, config.tied_embeddings) == ((2, 0), 0, True)
    assert (config.rope, config.window, config.sampling) == (Rope(10000.0), None, None)
    assert len(dict(config.tensors())) == 2 + 8 * 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel.* is not supported"),
        ({"architectures": None}, "None is not supported"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "code that comes with the model"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "mixtures of experts"),
        ({"architectures": ["Qwen2VLForConditionalGeneration"]}, "text alone"),
        ({"vision_config": {"depth": 2}}, "text alone"),
        ({"torch_dtype": "float8_e4m3fn"}, "float8_e4m3fn are not supported"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"partial_rotary_factor": 0.5}, "partial rotary"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2}}, "longrope"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "differs between layers"),
        ({"rope_theta": 1.0}, "rope_theta is 1.0"),
        ({"num_hidden_layers": MAX_LAYERS + 1}, "num_hidden_layers is 4097"),
        ({"max_position_embeddings": 1 << 40}, "max_position_embeddings"),
        ({"hidden_size": "big"}, "hidden_size is 'big'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_key_value_heads": 3}, "do not fit"),
    ],
)
def test_what_is_not_supported_is_refused(change, words):
    with pytest.raises(Invalid, match=words):
        ModelConfig.parse(RAW | change, {}, "config.json")


def test_both_spellings_of_rope():
    new = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    config = ModelConfig.parse({**RAW, "rope_theta": None, "rope_parameters": new}, {}, "")
    assert config.rope == Rope(5e5, "linear", 2.0)
    old = {"type": "linear", "factor": 2.0}
    assert ModelConfig.parse({**RAW, "rope_theta": 5e5, "rope_scaling": old}, {}, "").rope == config.rope


def test_all_that_is_wrong_is_counted():
    with pytest.raises(Invalid, match=r"'gelu' is not supported \(and 2 more: symphony models verify"):
        ModelConfig.parse({**RAW, "hidden_act": "gelu", "hidden_size": 0, "vocab_size": None}, {}, "")


@pytest.mark.parametrize(
    ("family", "members", "window", "windowed"),
    [
        ("Llama", {"sliding_window": 64}, None, [False] * 8),
        ("Mistral", {"sliding_window": 64}, 64, [True] * 8),
        ("Mistral", {"sliding_window": None}, None, [False] * 8),
        ("Mistral", {"max_position_embeddings": 32768}, 4096, [True] * 8),  # what transformers takes it for
        ("Mistral", {"sliding_window": 2048}, None, [False] * 8),  # nothing outgrows it
        ("Qwen2", {"sliding_window": 64}, None, [False] * 8),
        ("Qwen2", WINDOW, None, [False] * 8),  # max_window_layers is 28
        ("Qwen2", {**WINDOW, "max_window_layers": 6}, 64, [False] * 6 + [True] * 2),
        ("Qwen3", {**WINDOW, "max_window_layers": 0}, 64, [True] * 8),
        (
            "Qwen3",
            {**WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 4},
            64,
            [True, False] * 4,
        ),
    ],
)  # fmt: skip
def test_windows(family, members, window, windowed):
    config = ModelConfig.parse({**RAW, "architectures": [f"{family}ForCausalLM"], **members}, {}, "")
    assert (config.window, list(config.windowed)) == (window, windowed)


@pytest.mark.parametrize("kinds", [["full_attention"], "all", ["chunked_attention"] * 8])
def test_layers_of_other_kinds(kinds):
    members = {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True, "layer_types": kinds}
    with pytest.raises(Invalid, match="layer"):
        ModelConfig.parse({**RAW, **members}, {}, "")


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.sampled_from(["", "x", "7", "silu"]),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from(["rope_type", "factor"]), st.floats(), max_size=2),
)  # fmt: skip
SCALING = st.dictionaries(
    st.sampled_from(
        ["rope_type", "type", "factor", "rope_theta", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow",
         "mscale", "mscale_all_dim", "attention_factor", "original_max_position_embeddings", "partial_rotary_factor"]
    ),
    st.one_of(ANY, st.sampled_from(["yarn", "llama3", "linear", "dynamic", 2.0, 64])),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(
    members=st.dictionaries(
        st.sampled_from([*RAW, "layer_types", "sliding_window", "use_sliding_window", "max_window_layers", "auto_map"]),
        ANY,
    ),
    scaling=st.none() | SCALING,
    family=st.sampled_from(list(FAMILIES)),
    generation=st.dictionaries(st.sampled_from(["eos_token_id", "do_sample", "temperature", "top_k", "top_p"]), ANY),
)
def test_whatever_the_files_say_is_understood_or_refused(members, scaling, family, generation):
    raw = {**RAW, "architectures": [family], "rope_scaling": scaling, **members}
    with contextlib.suppress(Invalid):
        config = ModelConfig.parse(raw, generation, "config.json")
        assert len(config.windowed) == config.layers
        assert config.heads % config.kv_heads == 0
        assert 0 < config.rope.attention_factor < float("inf")
        assert rope.frequencies(config.rope, min(config.head_dim, 256)).shape == (min(config.head_dim, 256) // 2,)


def test_yarn_reaches_as_far_as_it_says():
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = ModelConfig.parse({**RAW, "max_position_embeddings": 32768, "rope_scaling": scaling}, {}, "")
    assert config.context_limit == 131072
    assert config.rope.attention_factor == pytest.approx(1.1386294)


def test_what_generation_config_says():
    stop = {"eos_token_id": [151645, 151643, "x", True], "bos_token_id": 5}
    config = ModelConfig.parse(RAW, stop, "")
    assert (config.stop_tokens, config.bos_token, config.sampling) == ((151645, 151643), 5, None)
    sampling = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": "much"}
    assert ModelConfig.parse(RAW, sampling, "").sampling == Sampling(temperature=0.6, top_k=20, top_p=0.95)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(NotFound, match=name.replace(".", r"\.")) as e:
        LocalEngine.load(str(copy), device="cpu")
    assert e.value.hint


def test_broken_files(copy):
    (copy / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(Invalid, match="cannot be read"):
        LocalEngine.load(str(copy), device="cpu")
    (copy / "config.json").write_text("{")
    with pytest.raises(Invalid, match="not JSON"):
        LocalEngine.load(str(copy), device="cpu")


def test_pickles_are_refused_with_the_reason(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(Invalid, match="runs whatever code it contains"):
        LocalEngine.load(str(copy), device="cpu")


def test_shapes_are_checked(copy):
    weights = load_file(copy / "model.safetensors")
    name = "model.layers.3.mlp.up_proj.weight"
    save_file({**weights, name: torch.zeros(5, 256)}, copy / "model.safetensors")
    with pytest.raises(Invalid, match=rf"{name} has the shape \[5, 256\], not \[704, 256\]"):
        LocalEngine.load(str(copy), device="cpu")
    del weights[name]
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(Invalid, match=f"lack {name}"):
        LocalEngine.load(str(copy), device="cpu")


def test_shards(copy):
    (copy / "model.safetensors").unlink()
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "one.safetensors").touch()
    save_file({"a": torch.zeros(1)}, copy / "one.safetensors")
    with pytest.raises(NotFound, match=r"two\.safetensors does not exist, but .*index"):
        weight_files(copy)
    save_file({"c": torch.zeros(1)}, copy / "two.safetensors")
    with pytest.raises(Invalid, match=r"two\.safetensors lacks what .* says it has: b"):
        weight_files(copy)
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, copy / "two.safetensors")
    with pytest.raises(Invalid, match=r"two\.safetensors repeats what another file has: a"):
        weight_files(copy)
    save_file({"b": torch.zeros(1)}, copy / "two.safetensors")
    assert [p.name for p in weight_files(copy)] == ["one.safetensors", "two.safetensors"]
    index["weight_map"]["a"] = "../one.safetensors"
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Invalid, match="elsewhere"):
        weight_files(copy)


def weight_files(directory: Path) -> list[Path]:
    problems: list[Problem] = []
    files, _ = survey(directory, problems)
    refuse(problems)
    return files


def test_weights_that_the_model_does_not_use_are_refused(copy):
    """They belong to a model that computes something else."""
    weights = load_file(copy / "model.safetensors")
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.zeros(256)}
    save_file({**weights, **bias}, copy / "model.safetensors")
    with pytest.raises(Invalid, match=r"LlamaForCausalLM does not use: model\.layers\.0\.self_attn\.q_proj\.bias"):
        LocalEngine.load(str(copy), device="cpu")
    save_file({**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(32)}, copy / "model.safetensors")
    LocalEngine.load(str(copy), device="cpu", pages=8, host_pages=0).close()


@pytest.mark.parametrize("differs", [False, True])
def test_an_output_weight_that_should_be_tied(copy, differs):
    """It counts where it differs, as in transformers."""
    weights = load_file(copy / "model.safetensors")
    head = weights["model.embed_tokens.weight"].flip(0) if differs else weights["model.embed_tokens.weight"].clone()
    save_file({**weights, "lm_head.weight": head}, copy / "model.safetensors")
    engine = LocalEngine.load(str(copy), device="cpu", pages=8, host_pages=0)
    plain = LocalEngine.load("tiny", device="cpu", pages=8, host_pages=0)
    row = Row([50, 60, 70], 0, [1], [2], Readings(top_k=3))
    [one], [other] = (each.run(Batch([row])) for each in (engine, plain))
    ids = other.readings[0].top_ids
    assert list(one.readings[0].top_ids) == ([4095 - i for i in ids] if differs else list(ids))
    engine.close()
    plain.close()


def test_the_digest_is_of_the_contents(copy):
    files = weight_files(copy)
    before = digest(files, "float32")
    assert digest(weight_files(TINY), "float32") == before
    assert digest(files, "bfloat16") != before
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors")
    assert digest(files, "float32") != before


def test_the_digest_is_of_what_keys_and_values_depend_on(copy):
    digests = set()
    for eps in (1e-6, 1e-5):
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": eps}))
        engine = LocalEngine.load(str(copy), device="cpu", pages=8, host_pages=0)
        digests.add(engine.info.digest)
        engine.close()
    assert len(digests) == 2


def test_names(tmp_path, monkeypatch):
    assert registry.find(str(tmp_path)) == tmp_path
    for nothing in ("nope", "", " "):
        with pytest.raises(NotFound, match=f"no model '{nothing}'"):
            registry.find(nothing)
    monkeypatch.chdir(tmp_path)
    assert registry.find(".") == Path()
    with pytest.raises(NotFound, match="no model ''"):
        LocalEngine.load("", device="cpu")
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="not a model directory"):
        registry.find(str(tmp_path / "file"))
    assert registry.short_name("org/name") == "name"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def download(cache: Path, name: str, commit: str = COMMIT, ref: str | None = COMMIT) -> Path:
    """What `hf download` leaves: blobs by content, a snapshot of links to them, and where `main` is."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for folder in (repository / "blobs", snapshot, repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for file in TINY.iterdir():
        blob = repository / "blobs" / f"{len(file.name)}-{file.stat().st_size}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    if ref is not None:
        (repository / "refs" / "main").write_text(ref)
    return snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_model_of_the_local_hugging_face_cache(cache):
    with pytest.raises(NotFound, match=r"org/name is not in the local Hugging Face cache .*hub") as e:
        registry.find("org/name")
    assert e.value.hint == "run: hf download org/name"
    snapshot = download(cache, "org/name")
    (snapshot.parent / "later").mkdir()
    assert registry.find("org/name") == snapshot
    assert registry.cached() == [("org/name", snapshot)]
    engine = LocalEngine.load("org/name", device="cpu", pages=8, host_pages=0)
    assert engine.info.name == "name"
    assert engine.info.digest == digest_of_tiny()
    engine.close()


def digest_of_tiny() -> str:
    engine = LocalEngine.load("tiny", device="cpu", pages=8, host_pages=0)
    engine.close()
    return engine.info.digest


@pytest.mark.parametrize("ref", [None, "gone", "", "..", ".", "../../..", "a/b", "\0", "x" * 500])
def test_without_a_usable_reference_the_snapshot_counts(cache, ref):
    snapshot = download(cache, "org/name", ref=ref)
    (snapshot.parent / "a file").touch()
    assert registry.find("org/name") == snapshot


def test_a_download_that_is_not_whole(cache):
    snapshot = download(cache, "org/name")
    for blob in (snapshot.parents[1] / "blobs").iterdir():
        blob.unlink()
    with pytest.raises(NotFound, match="org/name is not whole") as e:
        registry.find("org/name")
    assert e.value.hint == "run: hf download org/name"
    assert registry.cached() == []
    (cache / "models--org--empty" / "snapshots").mkdir(parents=True)
    with pytest.raises(NotFound, match="org/empty is not in the local"):
        registry.find("org/empty")


@pytest.mark.parametrize(
    ("variable", "value", "under"),
    [
        ("HF_HUB_CACHE", "a", "a"), ("HUGGINGFACE_HUB_CACHE", "b", "b"), ("HF_HOME", "c", "c/hub"),
        ("XDG_CACHE_HOME", "d", "d/huggingface/hub"), ("HOME", "e", "e/.cache/huggingface/hub"),
    ],
)  # fmt: skip
def test_where_the_cache_is(cache, tmp_path, monkeypatch, variable, value, under):
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv(variable, str(tmp_path / value))
    snapshot = download(tmp_path / under, "org/name")
    assert registry.find("org/name") == snapshot


def test_devices_types_and_back_ends_that_are_not_there():
    with pytest.raises(Invalid, match="no dtype 'int3'"):
        LocalEngine.load("tiny", device="cpu", dtype="int3")
    with pytest.raises(Invalid, match="not supported"):
        LocalEngine.load("tiny", device="meta")
    with pytest.raises(Invalid, match="no device"):
        LocalEngine.load("tiny", device="toaster")
    with pytest.raises(Unavailable, match="flash"):
        LocalEngine.load("tiny", device="cpu", attention="flash")
