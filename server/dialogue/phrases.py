"""The fixed sentences of an agent, rendered to audio once at start; the owner may reword each in the agent file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Phrases(BaseModel):
    """Sentences without anything to fill in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filler: str = "One moment, I'll check."
    thinking: str = "Let me think."
    hello: str = "Hello. How can I help you?"
    machine: str = (
        "Yes, I am a machine, an automated assistant. If you would rather speak to a person, just say so."
    )
    help: str = "You can ask me a question, or ask for a person."
    thanks: str = "You're welcome. Is there anything else I can do?"
    anything_else: str = "Is there anything else I can do for you?"
    what_else: str = "All right. What else can I do for you?"
    goodbye: str = "Thank you for calling. Goodbye."
    take_your_time: str = "Of course, take your time."
    nothing_to_repeat: str = "I have not said anything yet. How can I help you?"
    not_understood: str = "I'm sorry, I did not understand that. Could you say it again?"
    not_understood_again: str = "I'm sorry, I still did not get that. Could you put it another way?"
    unknown: str = "I'm sorry, I don't know that. Would you like to speak to a person?"
    unknown_in_task: str = "I'm sorry, I don't know that."
    person_wanted: str = "Would you like to speak to a person?"
    refused: str = "I'm sorry, I can't help with that."
    offer_person: str = "I seem to have trouble understanding. Would you like to speak to a person?"
    handing_over: str = "One moment, I'll put you through to a person."
    handing_over_trouble: str = "I'm having trouble understanding, so I'll put you through to a person."
    transfer_unconfigured: str = "I'm sorry, there is nobody I can put you through to at the moment."
    transfer_refused: str = "I'm sorry, nobody is free to take your call right now."
    transfer_timeout: str = "I'm sorry, nobody is answering at the moment."
    after_transfer: str = "Can I help you with anything else?"
    llm_error: str = "I'm sorry, I can't think that through right now. I'll put you through to a person."
    speech_error: str = "I'm sorry, I can't hear you properly at the moment. Please call again. Goodbye."
    tool_failed: str = "I'm sorry, I can't look that up right now. Would you like to speak to a person?"
    not_verified: str = "I'm sorry, I can only do that once I have found your booking."
    do_not_call: str = "I understand. We will not call you again. Goodbye."
    silence_prompt: str = "Are you still there?"
    silence_farewell: str = "I can't hear you any more, so I'll hang up now. Goodbye."
    duration_farewell: str = (
        "I'm sorry, we have reached the time limit for this call. Please call again. Goodbye."
    )
    turns_farewell: str = "I'm sorry, this call has become too long for me. Please call again. Goodbye."
    shutdown_farewell: str = (
        "I'm sorry, I have to close down now. Please call again in a few minutes. Goodbye."
    )
    resume: str = "Sorry about that. Where were we?"
    resume_question: str = "Sorry about that. Where were we:"
    say_yes_or_no: str = "Sorry, was that a yes or a no?"
    cancelled: str = "All right, I have left that."
    which_to_change: str = "What should I change?"

    def spoken_whole(self) -> list[str]:
        """Return every sentence."""
        return [value for value in self.model_dump().values() if value]
