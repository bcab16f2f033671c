"""What moved without us: disputed and externally returned amounts of an order."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    amount = sa.Numeric(10, 2)
    for name, kind in (("disputed_amount", amount), ("external_amount", amount), ("movement", sa.BigInteger)):
        op.add_column("orders", sa.Column(name, kind, nullable=False, server_default="0"))
