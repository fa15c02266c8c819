"use strict"

const find = id => document.getElementById(id)

// What a form would load goes into the page instead; without this script it loads as a page.
const instead = (form, out, run) => form?.addEventListener("submit", async event => {
  event.preventDefault()
  out.textContent = ""
  try {
    await run(form)
  } catch (problem) {
    out.textContent = "That did not work: " + problem.message
  }
})

const checked = answer => {
  if (!answer.ok) throw new Error(answer.status + " " + answer.statusText)
  return answer
}

instead(find("say"), find("echo"), async form => {
  const answer = checked(await fetch(form.action, { method: "POST", body: form.text.value }))
  find("echo").textContent = await answer.text()
})

instead(find("read"), find("stream"), async form => {
  const answer = checked(await fetch(form.action))
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  for (let piece; !(piece = await reader.read()).done;) find("stream").textContent += piece.value
})

// A file that is too large is found out before it is sent.
const image = document.querySelector("input[data-max]")
image?.addEventListener("change", () => {
  const max = Number(image.dataset.max)
  const isLarge = image.files[0]?.size > max
  image.setCustomValidity(isLarge ? `That picture is larger than ${max / 1048576} MiB.` : "")
  if (isLarge) image.reportValidity()
})

const stats = find("stats")
if (stats) {
  new EventSource("/events").addEventListener("stats", event => {
    const values = JSON.parse(event.data)
    for (const item of stats.children) {
      item.querySelector("dd").textContent = values[item.querySelector("dt").textContent]
    }
  })
}
