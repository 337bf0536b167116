"""Tokenizers of the kinds that differ in how tokens become text, made on the spot."""

from __future__ import annotations

from functools import cache

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = ["The quick brown fox jumps over the lazy dog, and the dog sleeps.", "Größe naïve 北京 Москва 😀👍🏽 END STOP"]
SPECIALS = ["<unk>", "<s>", "</s>", "<|im_end|>"]


def _wrapped(tokenizer: Tokenizer) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<|im_end|>"]
    )


@cache
def byte_level() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer as GPT-2's, whose tokens are bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


@cache
def byte_fallback() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer as Llama 2's: a mark for spaces, and bytes for what it has no token for."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIALS, show_progress=False)
    trained.train_from_iterator(CORPUS[:1], trainer)
    vocabulary = trained.get_vocab()
    vocabulary |= {byte: len(vocabulary) + place for place, byte in enumerate(bytes_)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer)


@cache
def word_pieces() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer as BERT's, whose pieces of words begin with `##`."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


@cache
def metaspace() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer as T5's: pieces of words, with a mark for the space in front of them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer)


@cache
def words() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer of whole words, which are put together with spaces."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIALS, show_progress=False))
    return _wrapped(tokenizer)


@cache
def bytes_() -> transformers.ByT5Tokenizer:
    """Make a tokenizer as ByT5's, whose tokens are bytes, and which says nothing of half a character."""
    return transformers.ByT5Tokenizer(extra_ids=0, additional_special_tokens=["<s>", "<|im_end|>"])


KINDS = {
    "byte_level": byte_level,
    "byte_fallback": byte_fallback,
    "word_pieces": word_pieces,
    "metaspace": metaspace,
    "words": words,
    "bytes": bytes_,
}
