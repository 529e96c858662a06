"""The sentences of the pause corpus. ``|`` is a pause within the turn; what stands before it is spoken with an open melody.

Every list is dealt out by turns to the tuning half and the held-back half, so that no sentence is in both.
"""

from __future__ import annotations

from typing import Final

FINISHED: Final = """
I would like to see a doctor on Thursday.
What are your opening hours?
Can I come in tomorrow morning?
I need to cancel my appointment.
Do you have anything free on Friday?
My son has had a fever since yesterday.
Where can I park my car?
I have already paid that bill.
Could you repeat the address, please?
I lost my insurance card.
Does the clinic take walk-ins?
The package never arrived.
How much does a cleaning cost?
I want to speak to somebody in billing.
My name is Sarah Thompson.
I am calling about my test results.
Is Doctor Miller in today?
Please send it by post.
I moved house last month.
What is the wait at the moment?
Nobody called me back.
It started about two weeks ago.
Can you tell me my balance?
The heating in my flat is broken.
That works for me.
I would rather come in the afternoon.
Do I need a referral for that?
I think I left my umbrella in the waiting room.
How long does the repair take?
My internet has been down all day.
I only want to change the date.
We are a family of four.
Which bus goes to the hospital?
The line was busy the whole morning.
I did not get the confirmation.
Are there any side effects?
"""

BRIEF: Final = """
Yes.
No.
Yes, please.
No, thank you.
Tuesday.
Sure.
That is right.
No, that is wrong.
The first one.
Half past ten.
Correct.
In the morning.
Not really.
Okay.
Two people.
Exactly.
"""

UNFINISHED: Final = """
I would like to book | an appointment for my daughter.
I am calling because | the delivery never came.
Could you tell me whether | the doctor is in on Monday?
My address is | forty two Garden Street.
I need to move | the meeting to Wednesday.
It is about the invoice | that came in last week.
Can I speak with | someone in the billing department?
I was there on Friday and | nobody opened the door.
The pain is mostly in | my left knee.
We wanted to stay for | three nights.
I have an appointment at | ten on Thursday but | I cannot make it.
Please tell Doctor Brown that | I will be late.
I ordered a lamp from you | and it came broken.
When I turn it on | it makes a strange noise.
She told me that | I should call this number.
If it is possible | I would like a window seat.
I would prefer | Tuesday or | Wednesday afternoon.
The car that I rented | has a flat tire.
My mother is seventy four and | she fell this morning.
I want to know | how much it costs | with insurance.
Is there a pharmacy near | the railway station?
I got a letter which | says that I owe you money.
So the first time it happened | was at the end of March.
Do you have a room with | two single beds?
I can do Monday | or Thursday after four.
The problem is that | my password does not work.
Before I pay this | I would like to see | the whole bill.
You sent the parcel to | the wrong address.
I take one tablet | in the morning and | two at night.
He is allergic to | penicillin.
I already talked to your colleague | about the refund.
Could I have | the vegetarian menu?
I bought the ticket online | but I never got the email.
My flight is at | six in the evening.
I need a copy of | my last statement.
We are looking for | a plumber who | can come today.
"""

HESITATING: Final = """
I would like to, uh, | book a table for, um, | four people.
It was, um, | the fifteenth, I think.
My name is, uh, | Robert Hughes.
Well, uh, | I am not sure about the date.
Can you, um, | check if my order was sent?
I need, uh, | a prescription for my eyes.
The address is, um, | twelve Mill Road.
I have this, uh, | this pain in my back.
So, um, | what do I have to bring?
Maybe on, uh, | on Wednesday?
It was the, um, | the blue one.
I think it was, uh, | Doctor Carter.
Hmm, | let me see, | the third of May.
I am looking for, um, | the children's ward.
Uh, | I forgot the number.
We would need, uh, | two rooms for, um, | five nights.
Could you, uh, | could you say that again?
My date of birth is, um, | the second of June.
I wanted to ask, uh, | about the parking.
There is a, um, | a problem with my card.
Let me think, | uh, | I guess Friday is better.
It is for my, uh, | my neighbor.
I was told to, um, | to call you today.
The thing is, uh, | I lost the receipt.
The bill says, um, | ninety five dollars.
Actually, uh, | can we make it eleven?
He works in the, um, | the second building.
I would say, uh, | about six o'clock.
"""

DICTATING: Final = """
four eight two | nine one oh
seven seven three | two one eight | four four oh nine
My number is two oh five | five five five | one three six two
one nine | eight four
It is six six one | oh two three
five oh nine | seven seven two | one six
eight eight | three one | five nine | oh four
nine one | seven six two | three three
three two one | nine eight seven | six five four
oh two oh | seven nine four six | oh nine five eight
one one two | three five eight
four four | one six | seven two
The order number is nine three | eight one | two six
two two seven | six oh one
seven one eight | five five five | oh one four three
six three | two nine | eight eight
one four oh | nine two six | seven
three three six | one oh eight
My birthday is oh seven | twenty two | nineteen eighty four
eight one five | nine six two | oh oh three four
five seven | two two | four oh
nine nine | one three | eight six two
The code is one eight two | seven four five
six oh two | four one nine | five five eight three
"""

SPELLING: Final = """
B A | K E R
M I L | L E R
It is spelled S M | Y T H E
T H O | M P S O N
J as in Julia | O N E S
H U G | H E S
W A L | L A C E
That is C A R | T E R
R O B | E R T S O N
N G U | Y E N
P as in Peter | E T E R S
L O P | E Z
F I S | C H E R
G R A | N T
"""

HUMAN: Final = {
    "librivox/sense_and_sensibility_01_austen_64kb-0870.wav": (
        "and mister john dashwood had then leisure to consider how much there might be prudently in his power"
        " to do for them",
        "reader",
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0880.wav": (
        "he was not an ill disposed young man",
        "reader",
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0890.wav": (
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
        "reader",
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0920.wav": (
        "had he married a more a amiable woman he might have been made still more respectable than he was",
        "reader",
    ),
    "librivox/sense_and_sensibility_01_austen_64kb-0930.wav": (
        "he might even have been made amiable himself",
        "reader",
    ),
    "cards/001.wav": ("ten of clubs", "player"),
    "cards/002.wav": ("four queen of clubs", "player"),
    "cards/003.wav": ("seven of clubs", "player"),
    "cards/004.wav": ("five five", "player"),
    "cards/005.wav": ("eight of spades four of clubs seven of hearts", "player"),
    "goforward.raw": ("go forward ten meters", "driver"),
    "something.raw": ("go somewhere and do something", "driver"),
    "numbers.raw": ("", "driver"),
    "tidigits/dhd.2934z.raw": ("two nine three four zero", "digits"),
}
"""Clips of Debian's pocketsphinx-testdata (16 kHz), their words and who speaks."""


def sentences(block: str) -> list[str]:
    """Return the lines of one of the lists above."""
    return [line for line in block.strip().splitlines() if line]
