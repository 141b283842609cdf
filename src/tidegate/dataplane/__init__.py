"""The data plane's common part: codecs, infer, batcher, the hot HTTP path. Used by gateway and replica."""
