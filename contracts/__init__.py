"""What services share: their messages by publisher, money, payment tokens. No service imports another; both import this."""
