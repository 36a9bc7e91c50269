"""How is it shown and measured? Nothing that the product needs imports this."""
