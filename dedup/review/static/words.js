// The words of the scripts in the language of the page, by names that the page gives them.
export const words = JSON.parse(document.querySelector("#words").textContent);
