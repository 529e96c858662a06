"""The WebSocket door: raw PCM16 both ways for tools that talk that way, as a process of its own.

``python -m sip.websocket CONFIG.json``. The wire towards clients is described in ``docs/guide/websocket.md``.
"""
