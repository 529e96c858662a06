"""The telephone: user agent, transactions, dialogs, offer/answer, RTP, DTMF and the 20 ms ticker.

Knows nothing of speech recognition, dialogue or records; imports nothing else of the product.
"""
