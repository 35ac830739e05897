from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine


async def run(address: URL, *statements: str) -> None:
    """Run statements in order, each in its own transaction."""
    engine = create_async_engine(address, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()
