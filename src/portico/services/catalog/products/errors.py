from portico.contracts.catalog import ProductId
from portico.kit import Conflict, NotFound, Unprocessable


class ProductNotFound(NotFound):
    code = "product_not_found"
    detail = "There is no product {product_id}."

    product_id: ProductId


class SkuTaken(Conflict):
    code = "sku_taken"
    detail = "Another product has the sku '{sku}'. Choose another, or change that product."

    sku: str


class TooManyWords(Unprocessable):
    code = "too_many_words"
    detail = "A search has at most {limit} different words. Leave some out."
    location = ("query", "search")

    limit: int
