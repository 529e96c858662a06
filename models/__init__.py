"""Signal in, result out: VAD, STT, LLM, TTS and embeddings behind small Protocols, and their catalogue.

Knows no call and no clock; imports nothing else of the product. Weights are never stored here.
"""
