from cog import BaseModel


class Answer(BaseModel):
    text: str

    class Meta(BaseModel):
        ms: int

    meta: Meta
