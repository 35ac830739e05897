"""What everything else rests on: clock, identifiers, money, problems, asyncio helpers. Imports no other part of the kit."""
